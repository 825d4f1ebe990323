// Runs the embedded model's golden sentences through a session at exact bits: full, at every exit, and as submodels.
#include <fstream>

#include <nlohmann/json.hpp>

#include "session_rig.h"

namespace tessera {
namespace {

using testing::script_plain;
using testing::scripted;

// The checkpoint of the repository in a store of its own, exact bits only.
struct Golden {
  Golden() {
    testing::register_all();
    const std::string checkpoint = std::string(TESSERA_SOURCE_DIR) + "/models/minilm6-sst2";
    ShardOptions options;
    options.bitwidths = {kExact};
    const auto made = make_store(checkpoint, folder / "store", options);
    if (!made.ok()) ADD_FAILURE() << made.error().message;
    store = Store::open(folder / "store").take();
    machine = testing::machine_for(store->shape(), 2);
    session = Session::open(store->shape(), store.get(), accuracy, machine, {}).take();
    std::ifstream file(checkpoint + "/golden.jsonl");
    for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  }
  // Logits of depth x width, as the plan's first slices.
  void expect(const nlohmann::json& line, int depth, int width, const nlohmann::json& want) {
    SCOPED_TRACE(line["text"].get<std::string>() + " at " + std::to_string(depth) + 'x' + std::to_string(width));
    script_plain(depth, width, kExact);
    RequestOptions options = scripted();
    options.seed = static_cast<uint64_t>(depth * 100 + width);
    const auto ids = line["ids"].get<std::vector<int32_t>>();
    const auto answer = session->run(options, ids, std::vector<int32_t>(ids.size(), 0));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    testing::expect_logits(answer->logits, want.get<std::vector<float>>(), 2e-3);
    ++checked;
  }
  testing::TemporaryFolder folder;
  std::unique_ptr<Store> store;
  Machine machine;
  AccuracyModel accuracy;
  std::unique_ptr<Session> session;
  std::vector<nlohmann::json> lines;
  int checked = 0;
};

TEST(SessionGolden, AnswersAsTheOriginalModelInFullAtEveryExitAndForEverySubmodel) {
  Golden golden;
  ASSERT_FALSE(golden.lines.empty());
  for (size_t i = 0; i < golden.lines.size(); ++i) {
    const nlohmann::json& line = golden.lines[i];
    golden.expect(line, 6, 12, line["logits"]);
    if (i % 4 != 0) continue;  // each sentence in full, a quarter of them in every other way
    for (const auto& [depth, logits] : line["exits"].items()) golden.expect(line, std::stoi(depth), 12, logits);
    for (const auto& [name, logits] : line["sub"].items()) {
      const size_t comma = name.find(',');
      golden.expect(line, std::stoi(name.substr(0, comma)), std::stoi(name.substr(comma + 1)), logits);
    }
  }
  EXPECT_GE(golden.checked, 64 + 16 * 9);
}

}  // namespace
}  // namespace tessera
