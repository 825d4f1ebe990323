// Tests what only an OpenCL device has: weights in many buffers, tiles, the exact grid without doubles, shards that it must
// refuse itself.
#if __has_include(<CL/cl.h>)
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/backends/opencl_rig.h"

namespace tessera::opencl::testing {
namespace {

using tessera::testing::all_slices;
using tessera::testing::close;
using tessera::testing::weights_of;

constexpr double kTolerance = 2e-5;  // backends/opencl/conformance.cc

class OpenCl : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::optional<DeviceFacts> facts = usable_device();
    if (!facts) GTEST_SKIP() << "no OpenCL device: " << machine().why;
    facts_ = *facts;
  }
  DeviceFacts facts_;
};

template <typename T>
void expect_same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(T)), 0) << i << ": " << a[i] << ", " << b[i];
}

std::vector<double> wanted(const RandomLayer& layer, const Weights& weights, const std::vector<float>& x, Op op) {
  std::vector<double> want(x.size());
  const int tokens = static_cast<int>(x.size()) / layer.shape.hidden;
  (op == Op::kFfnPart ? reference::ffn_part : reference::attention_part)(layer.shape, x, tokens, weights.parts(),
                                                                         layer.biases, want);
  return want;
}

// Three launches of eight, eight and four buffers; the sums of one resume those of the one before.
TEST_F(OpenCl, ReadsWeightsInMoreBuffersThanAKernelTakes) {
  const RandomLayer layer(2 * kSlots + 4, 16, 16, ElementType::kF16);
  const Weights weights = weights_of(layer, all_slices(layer), 3, WeightForm::kCoded);
  const std::vector<float> x = layer.input(9);
  Rig rig(facts_);
  const auto apart = rig.put(weights, false), together = rig.put(weights, true);
  for (const Op op : {Op::kAttentionPart, Op::kFfnPart}) {
    const auto got = rig.layer<double>(op, layer, apart, x, {0, 9});
    EXPECT_TRUE(rig.status().ok()) << rig.status().error().message;
    EXPECT_TRUE(close(got, wanted(layer, weights, x, op), kTolerance));
    expect_same_bits(got, rig.layer<double>(op, layer, together, x, {0, 9}));
  }
  expect_same_bits(rig.layer<float>(Op::kLayer, layer, apart, x, {0, 9}),
                   rig.layer<float>(Op::kLayer, layer, together, x, {0, 9}));
}

TEST_F(OpenCl, TilesChangeNoBit) {
  const RandomLayer layer(3, 20, 24, ElementType::kF16);
  const Weights weights = weights_of(layer, all_slices(layer), 5, WeightForm::kCoded);
  const std::vector<float> x = layer.input(33);
  Rig rig(facts_);
  const auto refs = rig.put(weights, true);
  const auto want = rig.layer<float>(Op::kLayer, layer, refs, x, {0, 33});
  for (const Tile& tile : {Tile{1, 1, 1, 16, 0}, Tile{5, 3, 2, 7, 1}, Tile{3, 2, 4, 64, 1}}) {
    ASSERT_TRUE(fits(tile, facts_));
    ASSERT_TRUE(rig.device().set_tuning({tile, tile}).ok());
    expect_same_bits(rig.layer<float>(Op::kLayer, layer, refs, x, {0, 33}), want);
  }
}

// The integers of devices without doubles are those that doubles give.
TEST_F(OpenCl, RoundsToTheGridAlikeWithAndWithoutDoubles) {
  const RandomLayer layer(4, 16, 32, ElementType::kF16);
  const Weights weights = weights_of(layer, all_slices(layer), 6, WeightForm::kCoded);
  const std::vector<float> x = layer.input(17);
  DeviceFacts without = facts_;
  without.doubles = false;
  Rig plain(facts_), integers(without);
  for (const Op op : {Op::kAttentionPart, Op::kFfnPart}) {
    const auto got = integers.layer<double>(op, layer, integers.put(weights, true), x, {0, 17});
    EXPECT_TRUE(close(got, wanted(layer, weights, x, op), kTolerance));
    expect_same_bits(got, plain.layer<double>(op, layer, plain.put(weights, true), x, {0, 17}));
    for (const double v : got) ASSERT_EQ(v, std::ldexp(std::nearbyint(std::ldexp(v, 32)), -32)) << "on the grid";
  }
}

// What is chosen for a GPU (staged rows, wide groups) computes the same within rounding.
TEST_F(OpenCl, ComputesAsItWouldOnAGpu) {
  const RandomLayer layer(4, 32, 64, ElementType::kBf16);
  const Weights weights = weights_of(layer, all_slices(layer), 4, WeightForm::kCoded);
  DeviceFacts gpu = facts_;
  gpu.type = CL_DEVICE_TYPE_GPU;
  Rig rig(gpu);
  const auto refs = rig.put(weights, true);
  for (const int tokens : {3, 70}) {
    const std::vector<float> x = layer.input(tokens);
    std::vector<float> want(x.size());
    reference::layer(layer.shape, x, tokens, weights.parts(), layer.biases, want);
    EXPECT_TRUE(close(rig.layer<float>(Op::kLayer, layer, refs, x, {0, tokens}), want, kTolerance)) << tokens << " tokens";
  }
}

TEST_F(OpenCl, AttendsTo512Tokens) {
  const RandomLayer layer(2, 16, 16, ElementType::kF32);
  const Weights weights = weights_of(layer, all_slices(layer), kExact, WeightForm::kCoded);
  const std::vector<float> x = layer.input(512);
  std::vector<float> want(x.size());
  reference::layer(layer.shape, x, 512, weights.parts(), layer.biases, want);
  Rig rig(facts_);
  EXPECT_TRUE(close(rig.layer<float>(Op::kLayer, layer, rig.put(weights, true), x, {0, 512}), want, kTolerance));
}

// Beyond 4,096 inputs positions of outliers are 32 bits wide; heads of 257 columns take 17 chunks.
TEST_F(OpenCl, ReadsWidePositions) {
  const RandomLayer layer(16, 257, 4, ElementType::kF16);
  const Weights weights = weights_of(layer, {3}, 4, WeightForm::kCoded);
  const std::vector<float> x = layer.input(2);
  Rig rig(facts_);
  const auto refs = rig.put(weights, true);
  for (const Op op : {Op::kAttentionPart, Op::kFfnPart})
    EXPECT_TRUE(close(rig.layer<double>(op, layer, refs, x, {0, 2}), wanted(layer, weights, x, op), kTolerance));
}

// More outliers in one tile than a group has work-items, and tiles without any.
TEST_F(OpenCl, PutsClusteredOutliersInTheirPlaces) {
  RandomLayer layer(2, 32, 48, ElementType::kF16);
  for (DenseShard& shard : layer.dense)
    for (auto& matrix : shard)
      for (size_t i = 0; i < matrix.size() / 12; ++i) matrix[i] = i % 2 == 0 ? 3.0f : -2.5f;
  for (const int bits : {2, 8}) {
    const Weights weights = weights_of(layer, all_slices(layer), static_cast<Bits>(bits), WeightForm::kCoded);
    const std::vector<float> x = layer.input(5);
    Rig rig(facts_);
    const auto refs = rig.put(weights, true);
    for (const Op op : {Op::kAttentionPart, Op::kFfnPart})
      EXPECT_TRUE(close(rig.layer<double>(op, layer, refs, x, {0, 5}), wanted(layer, weights, x, op), kTolerance)) << bits;
  }
}

TEST_F(OpenCl, RefusesShardsThatDoNotHoldWhatTheySay) {
  const RandomLayer layer(3, 16, 16, ElementType::kF16);
  const Weights good = weights_of(layer, all_slices(layer), 4, WeightForm::kCoded);
  const std::vector<float> x = layer.input(4);
  Rig rig(facts_);
  const auto run = [&](const std::vector<WeightRef>& refs) { return rig.layer<float>(Op::kLayer, layer, refs, x, {0, 4}); };
  const auto whole = rig.put(good, false);
  const auto want = run(whole);
  const auto expect_refused = [&](const std::vector<WeightRef>& refs, const char* slice) {
    run(refs);
    ASSERT_FALSE(rig.status().ok());
    EXPECT_EQ(rig.status().error().code, ErrorCode::kData);
    EXPECT_NE(rig.status().error().message.find(slice), std::string::npos) << rig.status().error().message;
  };
  for (const int64_t bytes : {int64_t{0}, int64_t{100}, whole[1].bytes - 2}) {
    auto cut = whole;
    cut[1].bytes = bytes;
    expect_refused(cut, "slice 1@4");
  }
  // Panel starts that say 4 billion outliers, in each matrix of the last slice.
  for (const int word : {16, 17}) {
    std::vector<uint8_t> damaged = good.blocks[2].as<uint8_t>();
    std::fill_n(damaged.begin() + 4 * word, 4, 0xff);
    auto refs = whole;
    refs[2].data = rig.put(damaged.data(), good.blocks[2].bytes());
    expect_refused(refs, "slice 2@4");
  }
  expect_same_bits(run(whole), want);  // the device is unharmed
  EXPECT_TRUE(rig.status().ok());
}

// Outliers that lie outside of their panel or out of order are ignored or misplaced, never written elsewhere.
TEST_F(OpenCl, SurvivesAnyBytes) {
  const RandomLayer layer(2, 16, 16, ElementType::kF16);
  const Weights good = weights_of(layer, all_slices(layer), 2, WeightForm::kCoded);
  const std::vector<float> x = layer.input(6);
  Rig rig(facts_);
  const auto whole = rig.put(good, false);
  const auto want = rig.layer<float>(Op::kLayer, layer, whole, x, {0, 6});
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    std::vector<uint8_t> bytes = good.blocks[1].as<uint8_t>();
    for (int hit = 0; hit < 30; ++hit) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    auto refs = whole;
    refs[1].data = rig.put(bytes.data(), good.blocks[1].bytes());
    rig.layer<float>(Op::kLayer, layer, refs, x, {0, 6});
    EXPECT_TRUE(rig.status().ok() || rig.status().error().code == ErrorCode::kData) << rig.status().error().message;
  }
  expect_same_bits(rig.layer<float>(Op::kLayer, layer, whole, x, {0, 6}), want);
}

// Sums are integers on the device: what is no number there must not come back as one.
TEST_F(OpenCl, SaysNotANumberWhereSumsCannotBeHeld) {
  const RandomLayer layer(2, 16, 16, ElementType::kF16);
  const Weights weights = weights_of(layer, all_slices(layer), kExact, WeightForm::kDecoded);
  Rig rig(facts_);
  const auto refs = rig.put(weights, true);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    std::vector<float> x = layer.input(3);
    const auto good = rig.layer<double>(Op::kFfnPart, layer, refs, x, {0, 3});
    x[static_cast<size_t>(layer.shape.hidden) + 5] = bad;  // of token 1
    const auto got = rig.layer<double>(Op::kFfnPart, layer, refs, x, {0, 3});
    const auto hidden = static_cast<size_t>(layer.shape.hidden);
    for (size_t i = 0; i < hidden; ++i) {
      EXPECT_EQ(got[i], good[i]);
      EXPECT_FALSE(std::isfinite(got[hidden + i])) << bad;
      EXPECT_EQ(got[2 * hidden + i], good[2 * hidden + i]);
    }
  }
}

TEST_F(OpenCl, SaysWhatDoesNotFitIntoItsMemory) {
  DeviceFacts small = facts_;
  small.memory_bytes = 10 << 20;
  small.largest_allocation = 4 << 20;
  Rig rig(small);
  const Result<Buffer> large = rig.device().allocate(mib(5));
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().code, ErrorCode::kInfeasible);
  EXPECT_EQ(large.error().message, "device opencl0: cannot allocate 5.0 MiB: its largest buffer is 4.0 MiB");
  for (int i = 0; i < 3; ++i) rig.empty(3 << 20);
  const Result<Buffer> fourth = rig.device().allocate(mib(3));
  ASSERT_FALSE(fourth.ok());
  EXPECT_EQ(fourth.error().code, ErrorCode::kInfeasible);
  EXPECT_EQ(fourth.error().message,
            "device opencl0: cannot allocate 3.0 MiB: 9.0 MiB of its 10.0 MiB are taken; lower --memory or the bits");
}

}  // namespace
}  // namespace tessera::opencl::testing
#endif
