// Compares measured accuracy with what `tessera eval` answers under the same plan, sentence by sentence.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "framework/registry.h"
#include "shards/plan_evaluator.h"
#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

// The first slices of the first layers at one bitwidth, which is what flags can ask of a policy.
struct Uniform {
  int depth = 0, width = 0;
  Bits bits = kExact;
};

EffectivePlan plan_of(const ModelShape& shape, const Uniform& uniform) {
  EffectivePlan plan{uniform.depth, std::vector<Bits>(static_cast<size_t>(uniform.depth * shape.slices), kAbsent)};
  for (int l = 0; l < uniform.depth; ++l) std::fill_n(plan.bits.begin() + l * shape.slices, uniform.width, uniform.bits);
  return plan;
}

std::vector<int16_t> labels_of_eval(const std::string& store, const std::string& data, const Uniform& uniform, int limit) {
  const TemporaryFolder folder;
  const std::string file = folder / "predictions.jsonl";
  const ToolRun run =
      tessera({"eval", store, "--data", data, "--policy", "load-exec", "--depth", std::to_string(uniform.depth), "--width",
               std::to_string(uniform.width), "--bits", std::to_string(uniform.bits), "--limit", std::to_string(limit),
               "--predictions", file, "--format", "json"});
  EXPECT_EQ(run.code, 0) << run.err;
  std::vector<int16_t> labels;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);)
    labels.push_back(nlohmann::json::parse(line)["predicted"].get<int16_t>());
  return labels;
}

void expect_equal(const std::string& directory, const std::string& data, const std::vector<Uniform>& plans, int limit) {
  register_backends();
  const auto store = Store::open(directory).take();
  const auto tokenizer = Tokenizer::from_compiled(store->tokenizer_path()).take();
  const auto cpu = backends().find("cpu")->make({.threads = 2});
  const TemporaryFolder cache;
  EvaluatorOptions options;
  options.limit = limit;
  options.cache = cache.path();
  auto evaluator = PlanEvaluator::create(*store, *tokenizer, data, *cpu, 0, options);
  ASSERT_TRUE(evaluator.ok()) << evaluator.error().message;
  std::vector<EvaluationWanted> wanted;
  for (const Uniform& plan : plans) wanted.push_back({plan_of(store->shape(), plan), {}});
  const auto measured = (*evaluator)->evaluate(wanted);
  ASSERT_TRUE(measured.ok()) << measured.error().message;
  for (size_t p = 0; p < plans.size(); ++p) {
    SCOPED_TRACE(std::to_string(plans[p].depth) + "x" + std::to_string(plans[p].width) + " at " +
                 std::to_string(plans[p].bits));
    EXPECT_EQ(labels_of_eval(directory, data, plans[p], limit), (*measured)[p]->labels);
  }
}

TEST(MeasuredAccuracy, IsThatOfEvalOnATinyModel) {
  const TemporaryFolder folder;
  std::string text = "sentence\tlabel\n";
  for (int row = 0; row < 40; ++row) {
    for (int word = 0; word < 1 + row % 9; ++word) text += "w" + std::to_string(5 + (row * 7 + word * 11) % 40) + " ";
    text += "\t" + std::to_string(row % 2) + "\n";
  }
  spill(folder / "data.tsv", text);
  expect_equal(tiny_store(), folder / "data.tsv", {{2, 4, 2}, {2, 3, 4}, {1, 2, kExact}}, 40);
}

TEST(MeasuredAccuracy, IsThatOfEvalOnTheEmbeddedModel) {
  const std::string data = std::string(TESSERA_SOURCE_DIR) + "/../shared/data/glue/SST-2/dev.tsv";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "NOT RUN: " << data << " is not here";
  const std::string store = std::string(TESSERA_BINARY_DIR) + "/share/tessera/models/minilm6-sst2";
  expect_equal(store, data, {{6, 12, 2}, {4, 7, 3}, {1, 3, kExact}}, 200);
}

}  // namespace
}  // namespace tessera::testing
