// Checks the flat codec: what is coded, what stays exact, and how far coded weights move.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "shards/codec_elements.h"
#include "shards/flat_codec.h"

namespace tessera {
namespace {

ModelShape shape_of(int hidden, int heads, int ffn) {
  ModelShape shape;
  shape.layers = 1;
  shape.hidden = hidden;
  shape.heads = shape.slices = heads;
  shape.ffn = ffn;
  return shape;
}

// Gaussian weights (as fp16 holds them) with one far outlier in every matrix.
DenseShard gaussian(const ModelShape& shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.01f, 0.05f);
  DenseShard dense;
  for (int i = 0; i < kMatrixCount; ++i) {
    dense[i].resize(static_cast<size_t>(matrix_dims(shape, static_cast<MatrixKind>(i)).weights()));
    for (float& w : dense[i]) w = normal(random);
    dense[i].back() = 1.5f;
    std::vector<std::byte> half(dense[i].size() * 2);
    encode_elements(ElementType::kF16, dense[i].data(), static_cast<int64_t>(dense[i].size()), half.data());
    decode_elements(ElementType::kF16, half.data(), static_cast<int64_t>(dense[i].size()), dense[i].data());
  }
  return dense;
}

DenseShard decoded(const ModelShape& shape, Bits bits, ElementType type, const std::vector<std::byte>& bytes) {
  auto result = decode_shard(shape, bits, type, bytes.data(), static_cast<int64_t>(bytes.size()));
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? result.take() : DenseShard{};
}

double squared_error(const DenseShard& a, const DenseShard& b) {
  double error = 0, all = 0;
  for (int i = 0; i < kMatrixCount; ++i) {
    for (size_t j = 0; j < a[i].size(); ++j) {
      error += (a[i][j] - b[i][j]) * (a[i][j] - b[i][j]);
      all += a[i][j] * a[i][j];
    }
  }
  return error / all;
}

// Head width and FFN share: one below, at and one above a panel of 16 rows.
class FlatShapes : public testing::TestWithParam<std::tuple<int, int>> {
 protected:
  ModelShape shape() const {
    const auto [head, share] = GetParam();
    return shape_of(head * 3, 3, share * 3);
  }
};
INSTANTIATE_TEST_SUITE_P(AroundThePanel, FlatShapes,
                         testing::Combine(testing::Values(1, 15, 16, 17, 32), testing::Values(1, 16, 33)));

TEST_P(FlatShapes, ExactShardsDecodeToTheSameWeights) {
  const DenseShard dense = gaussian(shape(), 1);
  EXPECT_EQ(decoded(shape(), kExact, ElementType::kF16, encode_exact(shape(), dense, ElementType::kF16)), dense);
  EXPECT_EQ(decoded(shape(), kExact, ElementType::kF32, encode_exact(shape(), dense, ElementType::kF32)), dense);
}

TEST_P(FlatShapes, EveryWeightBecomesItsNearestCentroidAndOutliersStay) {
  const DenseShard dense = gaussian(shape(), 2);
  for (int bits = 1; bits <= 8; ++bits) {
    const auto bytes = encode_flat(shape(), dense, static_cast<Bits>(bits), ElementType::kF16);
    const auto parsed = parse_coded_shard(shape(), static_cast<Bits>(bits), ElementType::kF16, bytes.data(),
                                          static_cast<int64_t>(bytes.size()));
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    const DenseShard got = decoded(shape(), static_cast<Bits>(bits), ElementType::kF16, bytes);
    for (int i = 0; i < kMatrixCount; ++i) {
      const float* dictionary = (*parsed)[i].dictionary;
      ASSERT_TRUE(std::is_sorted(dictionary, dictionary + (1 << bits)));
      size_t moved_far = 0;
      for (size_t j = 0; j < dense[i].size(); ++j) {
        float nearest = std::abs(dense[i][j] - got[i][j]);
        for (int c = 0; c < 1 << bits; ++c) nearest = std::min(nearest, std::abs(dense[i][j] - dictionary[c]));
        moved_far += std::abs(dense[i][j] - got[i][j]) > nearest * 1.00001f + 1e-9f;
      }
      EXPECT_EQ(moved_far, 0u) << "matrix " << i << " at " << bits << " bits";
      if (dense[i].size() > 100) { EXPECT_EQ(got[i].back(), 1.5f); }
    }
  }
}

TEST(Flat, ErrorFallsWithEveryBitAndMatchesTheGaussianQuantiser) {
  const ModelShape shape = shape_of(384, 12, 1536);
  const DenseShard dense = gaussian(shape, 3);
  const FlatEncoder encoder(shape, dense);
  // Lloyd-Max distortion of a unit Gaussian: 0.363, 0.1175, 0.0345, 0.0095 at 1..4 bits (Max, 1960).
  const double lloyd_max[] = {0, 0.3634, 0.1175, 0.03454, 0.009497};
  double last = 1;
  for (int bits = 1; bits <= 8; ++bits) {
    const double error = squared_error(dense, decoded(shape, static_cast<Bits>(bits), ElementType::kF16,
                                                      encoder.encode(static_cast<Bits>(bits), ElementType::kF16)));
    EXPECT_LT(error, last / 2);
    last = error;
    if (bits <= 4) { EXPECT_NEAR(error / lloyd_max[bits], 1.0, 0.15) << bits << " bits"; }
  }
}

TEST(Flat, SizesSumToTheShard) {
  const ModelShape shape = shape_of(96, 4, 200);
  const DenseShard dense = gaussian(shape, 4);
  for (int bits = 1; bits <= 8; ++bits) {
    CodedSizes sizes;
    const auto bytes = FlatEncoder(shape, dense).encode(static_cast<Bits>(bits), ElementType::kF32, &sizes);
    EXPECT_EQ(sizes.indices + sizes.dictionaries + sizes.outliers + sizes.padding, static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(sizes.dictionaries, 6 * (int64_t{4} << bits));
    EXPECT_GE(sizes.outlier_count, 6);
  }
}

TEST(Flat, CodesConstantsZerosAndFewerWeightsThanCentroids) {
  const ModelShape shape = shape_of(2, 2, 2);  // matrices of 2 weights
  for (float value : {0.0f, 0.25f, -3.0f}) {
    DenseShard dense;
    for (int i = 0; i < kMatrixCount; ++i) {
      dense[i].assign(static_cast<size_t>(matrix_dims(shape, static_cast<MatrixKind>(i)).weights()), value);
    }
    for (int bits = 1; bits <= 8; ++bits) {
      const auto bytes = encode_flat(shape, dense, static_cast<Bits>(bits), ElementType::kBf16);
      EXPECT_EQ(decoded(shape, static_cast<Bits>(bits), ElementType::kBf16, bytes), dense);
    }
  }
}

TEST(Flat, WideMatricesUseWidePositions) {
  const ModelShape shape = shape_of(4100, 4100, 4100);  // Q: [1, 4100]: positions reach 65,600
  DenseShard dense = gaussian(shape, 5);
  const auto bytes = encode_flat(shape, dense, 2, ElementType::kF16);
  const DenseShard got = decoded(shape, 2, ElementType::kF16, bytes);
  EXPECT_EQ(got[0].back(), 1.5f);
  EXPECT_EQ(got[4].back(), 1.5f);
}

TEST(Flat, ParseRefusesEveryCutAndHostileCounts) {
  const ModelShape shape = shape_of(12, 3, 9);
  const auto bytes = encode_flat(shape, gaussian(shape, 6), 3, ElementType::kF16);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(cut));
    part.reserve(part.size() + 1);
    EXPECT_FALSE(parse_coded_shard(shape, 3, ElementType::kF16, part.data(), static_cast<int64_t>(cut)).ok()) << cut;
  }
  std::vector<std::byte> hostile = bytes;
  const uint32_t many = 0xFFFFFFFFu;
  std::memcpy(hostile.data() + (4 << 3) + 4, &many, 4);  // panel_start[1] of Q
  EXPECT_FALSE(parse_coded_shard(shape, 3, ElementType::kF16, hostile.data(), static_cast<int64_t>(hostile.size())).ok());
}

TEST(Elements, EveryHalfAndBfloatSurvivesTheRoundTrip) {
  for (const ElementType type : {ElementType::kF16, ElementType::kBf16}) {
    for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
      const auto stored = static_cast<uint16_t>(pattern);
      float value = 0;
      decode_elements(type, reinterpret_cast<const std::byte*>(&stored), 1, &value);
      if (std::isnan(value)) continue;
      uint16_t back = 0;
      encode_elements(type, &value, 1, reinterpret_cast<std::byte*>(&back));
      ASSERT_EQ(back, stored);
    }
  }
}

}  // namespace
}  // namespace tessera
