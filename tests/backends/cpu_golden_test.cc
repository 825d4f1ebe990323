// Checks the embedded model's logits on the CPU against those that were recorded from the trained checkpoint.
#include <fstream>

#include <nlohmann/json.hpp>

#include "tests/backends/cpu_model.h"
#include "tests/backends/cpu_rig.h"
#include "tests/support/tiny_model.h"

namespace tessera {
namespace {

using namespace tessera::testing;  // NOLINT: the rig is part of this test
using nlohmann::json;

// golden.jsonl was recorded by another program in fp32 and printed with six digits.
constexpr double kTolerance = 2e-3;

class CpuGolden : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::string source = std::string(TESSERA_SOURCE_DIR) + "/models/minilm6-sst2";
    folder_ = new TemporaryFolder();
    ShardOptions options;
    options.bitwidths = {2, 4, 6, kExact};
    const auto made = make_store(source, *folder_ / "store", options);
    ASSERT_TRUE(made.ok()) << made.error().message;
    store_ = Store::open(*folder_ / "store").take().release();
    std::ifstream lines(source + "/golden.jsonl");
    for (std::string line; std::getline(lines, line);) golden_->push_back(json::parse(line));
    ASSERT_GE(golden_->size(), 32u);
  }
  static void TearDownTestSuite() {
    delete store_;
    delete folder_;
    golden_->clear();
  }
  static void expect_logits(const std::vector<float>& got, const json& want, const std::string& what) {
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i].get<double>(), kTolerance) << what;
  }
  static TemporaryFolder* folder_;
  static Store* store_;
  static std::vector<json>* const golden_;
};
TemporaryFolder* CpuGolden::folder_ = nullptr;
Store* CpuGolden::store_ = nullptr;
std::vector<json>* const CpuGolden::golden_ = new std::vector<json>();

TEST_F(CpuGolden, ExactLogitsAreThoseOfTheCheckpointAtEveryExitAndWidth) {
  const auto cpu = make_cpu(2);
  const ResidentModel model(*store_, kExact, WeightForm::kCoded);
  for (const json& line : *golden_) {
    Forward forward(*cpu, model, line["ids"].get<std::vector<int32_t>>());
    const std::string row = "sentence " + line["index"].dump();
    expect_logits(forward.run(6, 12), line["logits"], row);
    for (const auto& [depth, logits] : line["exits"].items()) {
      expect_logits(forward.run(std::stoi(depth), 12), logits, row + " exit " + depth);
    }
    for (const auto& [cut, logits] : line["sub"].items()) {
      const size_t comma = cut.find(',');
      expect_logits(forward.run(std::stoi(cut.substr(0, comma)), std::stoi(cut.substr(comma + 1))), logits,
                    row + " sub-model " + cut);
    }
  }
}

TEST_F(CpuGolden, DecodedResidentsDoNotChangeABit) {
  const auto cpu = make_cpu(2);
  for (const Bits bits : {Bits{2}, Bits{4}, Bits{6}, kExact}) {
    const ResidentModel coded(*store_, bits, WeightForm::kCoded), decoded(*store_, bits, WeightForm::kDecoded);
    for (size_t i = 0; i < 4; ++i) {
      const auto ids = (*golden_)[i]["ids"].get<std::vector<int32_t>>();
      EXPECT_EQ(Forward(*cpu, coded, ids).run(6, 12), Forward(*cpu, decoded, ids).run(6, 12)) << int{bits} << " bits";
    }
  }
}

TEST_F(CpuGolden, FewerBitsMoveLogitsByLittle) {
  const auto cpu = make_cpu(2);
  const ResidentModel exact(*store_, kExact, WeightForm::kCoded), six(*store_, 6, WeightForm::kCoded);
  int same = 0;
  for (const json& line : *golden_) {
    const auto ids = line["ids"].get<std::vector<int32_t>>();
    const auto a = Forward(*cpu, exact, ids).run(6, 12), b = Forward(*cpu, six, ids).run(6, 12);
    same += (a[0] > a[1]) == (b[0] > b[1]);
    EXPECT_NE(a, b);
  }
  EXPECT_GE(same, static_cast<int>(golden_->size()) - 2);
}

}  // namespace
}  // namespace tessera
