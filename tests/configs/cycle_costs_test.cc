// Checks cards that are priced by the kernels' cycle models.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "configs/loader.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
const std::string kConfigs = std::string(TESSERA_SOURCE_DIR) + "/configs/";

ModelShape bert_base() { return load_shape(kConfigs + "models/bert-base.toml").value(); }

CostKey part(DeviceId device, Op op, int tokens, int slices, Bits bits) {
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(slices);
  key.bits[bits_level(bits)] = key.slices;
  return key;
}

class CycleCosts : public ::testing::Test {
 protected:
  static Machine machine(const std::string& name) {
    return load_platform(kConfigs + "platforms/" + name, bert_base()).take();
  }
  static std::string error_of(const std::string& from, const std::string& to) {
    std::ifstream in(kConfigs + "platforms/alveo-u280.toml");
    std::string text(std::istreambuf_iterator<char>(in), {});
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    const std::string path =
        (fs::temp_directory_path() / ("tessera_cycles_" + std::to_string(::getpid()) + ".toml")).string();
    std::ofstream(path) << text;
    const auto read = load_platform(path, bert_base());
    fs::remove(path);
    return read.ok() ? "" : read.error().message;
  }
};

TEST_F(CycleCosts, PriceALayerOnADescribedCard) {
  const Machine m = machine("alveo-u280.toml");
  const DeviceId card = m.platform.find("fpga0").value();
  const Estimate e = m.costs->estimate(part(card, Op::kLayer, 128, 12, 6));
  EXPECT_EQ(e.provenance, Provenance::kAnalytic);
  // No faster than its two arrays of 256 MACs at 300 MHz, no slower than a tenth of that.
  const double macs = 128.0 * (7'077'888 + 2 * 128 * 768);
  const double peak_ms = macs / (2 * 256 * 300e3);
  EXPECT_GT(e.mean.ms(), peak_ms);
  EXPECT_LT(e.mean.ms(), 10 * peak_ms);
}

TEST_F(CycleCosts, SplitALayerIntoItsHalves) {
  const Machine m = machine("zcu104.toml");
  const DeviceId card = m.platform.find("fpga0").value();
  const auto cost = [&](Op op, int slices) { return m.costs->estimate(part(card, op, 64, slices, 4)).mean; };
  EXPECT_LT((cost(Op::kAttentionPart, 12) + cost(Op::kFfnPart, 12)).ns, cost(Op::kLayer, 12).ns);
  EXPECT_LT(cost(Op::kLayer, 3), cost(Op::kLayer, 4));
  EXPECT_GT(cost(Op::kCombine, 0).ns, 0);
}

TEST_F(CycleCosts, LieBetweenThoseOfTheBitwidthsThatAreMixed) {
  const Machine m = machine("zcu104.toml");
  const DeviceId card = m.platform.find("fpga0").value();
  CostKey mixed = part(card, Op::kLayer, 16, 12, 2);
  mixed.bits[2] = 6, mixed.bits[8] = 6;
  const Duration few = m.costs->estimate(part(card, Op::kLayer, 16, 12, 2)).mean;
  const Duration many = m.costs->estimate(part(card, Op::kLayer, 16, 12, 8)).mean;
  const Duration both = m.costs->estimate(mixed).mean;
  EXPECT_LT(few, many);
  EXPECT_LT(few, both);
  EXPECT_LT(both, many);
}

TEST_F(CycleCosts, LearnNothingFromModelledTimes) {
  const Machine m = machine("alveo-u280.toml");
  const DeviceId card = m.platform.find("fpga0").value();
  const CostKey key = part(card, Op::kLayer, 64, 12, 6);
  const Duration before = m.costs->estimate(key).mean;
  for (int i = 0; i < 50; ++i) m.costs->model(card)->observe(key, milliseconds(500));
  EXPECT_EQ(m.costs->estimate(key).mean, before);
}

TEST_F(CycleCosts, PriceTheLinkToTheCard) {
  const Machine m = machine("alveo-u280.toml");
  CostKey key;
  key.device = m.platform.find("fpga0.link").value();
  key.op = Op::kTransfer;
  key.bytes = 84'854'300;
  EXPECT_NEAR(m.costs->estimate(key).mean.ms(), 10, 0.1);
}

TEST_F(CycleCosts, NameWhatIsMissingOrWrong) {
  EXPECT_NE(error_of("clock = \"300 MHz\"\n", "").find("cycles need the card's clock"), std::string::npos);
  EXPECT_NE(error_of("\"300 MHz\"", "\"300\"").find("clock: '300' has no unit; write 300MHz"), std::string::npos);
  EXPECT_NE(error_of("\"fp32\"", "\"fp64\"").find("unknown element 'fp64'; known: fp32, fixed16"), std::string::npos);
  EXPECT_NE(error_of("matmul_units = 2", "matmul_units = 0").find("matmul_units"), std::string::npos);
  EXPECT_NE(error_of("kind = \"fpga\"", "kind = \"gpu\"").find("prices the HLS kernels"), std::string::npos);
}

}  // namespace
}  // namespace tessera
