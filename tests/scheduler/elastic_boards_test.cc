// elastic beside sti under the real replay: the boards of configs/platforms, BERT-base and the embedded model's profile.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "configs/loader.h"
#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {

void register_policies();

namespace {

std::string source(const std::string& path) { return std::string(TESSERA_SOURCE_DIR) + "/" + path; }

struct Model {
  ModelShape shape;
  AccuracyModel accuracy;
};

Model bert_base() {
  Model out{load_shape(source("configs/models/bert-base.toml")).take(), {}};
  out.accuracy = random_importance(out.shape, 1);
  return out;
}

// The embedded model's dimensions with its measured profile; sizes are weights x bits.
Model embedded() {
  Model out = bert_base();
  ModelShape& shape = out.shape;
  shape.name = "minilm6-sst2";
  shape.layers = 6;
  shape.hidden = 384;
  shape.ffn = 1536;
  shape.depths = {1, 2, 3, 4, 5, 6};
  shape.widths = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  shape.exit_bytes.assign(6, Bytes{600'064});
  shape.row_block = Bytes{4096};
  shape.shard_bytes.assign(size_t{72} * kBitsLevels, {});
  for (size_t i = 0; i < shape.shard_bytes.size(); ++i) {
    const int level = static_cast<int>(i % kBitsLevels);
    if (level == 0 || !shape.has_bits(level_bits(level))) continue;
    shape.shard_bytes[i] = {shape.shard_weights() * (level_bits(level) == kExact ? 16 : level) / 8};
  }
  std::ifstream file(source("models/minilm6-sst2/profile/sst2.json"));
  const nlohmann::json model = nlohmann::json::parse(file)["model"];
  AccuracyModel& accuracy = out.accuracy;
  const auto micros = [&](const char* name) {
    std::vector<Micro> values;
    for (const auto& value : model[name]) values.push_back({value.get<int64_t>()});
    return values;
  };
  accuracy = {};
  accuracy.layers = 6;
  accuracy.slices = 12;
  accuracy.base = micros("base");
  accuracy.sensitivity = micros("sensitivity");
  accuracy.importance_accuracy = micros("importance_accuracy");
  accuracy.importance_loss = micros("importance_loss");
  accuracy.scale_ppm = model["scale_ppm"].get<std::vector<int64_t>>();
  accuracy.map = {{{0}, {905'000}}, {{1'000'000}, {500'000}}};
  accuracy.prefixes_only = true;
  return out;
}

// Losses of both, summed over budgets; elastic's is checked never to be above sti's. 0 requests: no plans.
struct Sum {
  int plans = 0;
  int64_t sti = 0, elastic = 0;
};

Sum compare(const Model& model, const std::string& platform) {
  register_policies();
  Machine machine = load_platform(source("configs/platforms/" + platform + ".toml"), model.shape).take();
  CostKey key;
  key.device = 1;
  key.tokens = 128;
  key.slices = 12;
  key.bits[bits_level(kExact)] = 12;
  const Duration whole = machine.costs->estimate(key).mean * model.shape.layers;
  Sum sum;
  for (const int percent : {15, 40, 80, 130, 220})
    for (const Bytes memory : {Bytes{int64_t{8} << 30}, mib(24), mib(8)}) {
      RequestOptions options;
      options.budgets.latency = Duration{whole.ns / 100 * percent};
      options.budgets.memory = memory;
      Micro loss[2];
      bool plans = true;
      for (const bool elastic : {false, true}) {
        options.policy = elastic ? "elastic" : "sti";
        const auto session = Session::open(model.shape, nullptr, model.accuracy, machine, Bytes{0}).take();
        const auto planned = session->plan(options, 128);
        EXPECT_TRUE(planned.ok()) << platform << ": " << planned.error().message;
        plans = plans && planned.ok() && !(*planned)->infeasible;
        if (plans) loss[elastic] = (*planned)->plan.predicted.loss;
      }
      if (!plans) continue;
      EXPECT_LE(loss[1], loss[0]) << platform << " at " << percent << " % and " << to_string(memory);
      ++sum.plans;
      sum.sti += loss[0].n;
      sum.elastic += loss[1].n;
    }
  return sum;
}

class ElasticOnBoard : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Platforms, ElasticOnBoard,
                         ::testing::Values("sti-board", "small-board", "raspberry-pi-5", "zcu104", "trio-board",
                                           "alveo-u280"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(ElasticOnBoard, LosesNoMoreThanStiWithBertBase) {
  const Sum sum = compare(bert_base(), GetParam());
  EXPECT_GT(sum.plans, 8);
  if (GetParam() == "zcu104") return;  // nothing is gained there that is worth another plan
  EXPECT_LT(sum.elastic, sum.sti);
}

TEST_P(ElasticOnBoard, LosesNoMoreThanStiWithTheEmbeddedModel) {
  const Sum sum = compare(embedded(), GetParam());
  EXPECT_GT(sum.plans, 4);
  EXPECT_LE(sum.elastic, sum.sti);
  RecordProperty("sti", std::to_string(sum.sti));
  RecordProperty("elastic", std::to_string(sum.elastic));
}

}  // namespace
}  // namespace tessera
