// Checks the reference operators against numbers worked out by hand and identities that they must keep.
#include "framework/reference_ops.h"

#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace tessera::reference {
namespace {

std::vector<float> random_floats(size_t count, uint32_t seed, float spread = 0.5f) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-spread, spread);
  std::vector<float> values(count);
  for (float& v : values) v = uniform(random);
  return values;
}

ModelShape small_shape() {
  ModelShape shape;
  shape.layers = 1;
  shape.slices = shape.heads = 2;
  shape.hidden = 6;
  shape.ffn = 8;
  shape.labels = 2;
  shape.layer_norm_eps = 1e-12;
  return shape;
}

SliceWeights random_slice(const ModelShape& shape, uint32_t seed) {
  const size_t head = static_cast<size_t>(shape.head_width()) * shape.hidden;
  const size_t share = static_cast<size_t>(shape.ffn_share()) * shape.hidden;
  return {random_floats(head, seed),     random_floats(head, seed + 1),  random_floats(head, seed + 2),
          random_floats(head, seed + 3), random_floats(share, seed + 4), random_floats(share, seed + 5)};
}

LayerBiases random_biases(const ModelShape& shape) {
  const size_t d = shape.hidden;
  const std::vector<float> ones(d, 1.0f);
  return {.query = random_floats(d, 1),
          .key = random_floats(d, 2),
          .value = random_floats(d, 3),
          .attention = random_floats(d, 4),
          .attention_norm_weight = ones,
          .attention_norm_bias = random_floats(d, 5),
          .up = random_floats(shape.ffn, 6),
          .down = random_floats(d, 7),
          .ffn_norm_weight = ones,
          .ffn_norm_bias = random_floats(d, 8)};
}

TEST(Reference, LinearMultipliesRowsByTheTransposedWeights) {
  const std::vector<float> x = {1, 2, 3, 4}, w = {1, 0, 0, 1, 1, 1}, b = {10, 20, 30};
  std::vector<float> y(6);
  linear(x, w, b, 2, 2, 3, y);
  EXPECT_EQ(y, (std::vector<float>{11, 22, 33, 13, 24, 37}));
  linear(x, w, {}, 2, 2, 3, y);
  EXPECT_EQ(y, (std::vector<float>{1, 2, 3, 3, 4, 7}));
}

TEST(Reference, GeluIsTheErfForm) {
  EXPECT_EQ(gelu(0), 0);
  EXPECT_NEAR(gelu(1), 0.8413447f, 1e-7);
  EXPECT_NEAR(gelu(-1), -0.1586553f, 1e-7);
  EXPECT_EQ(gelu(20), 20);
  EXPECT_NEAR(gelu(-20), 0, 1e-7);
}

TEST(Reference, LayerNormGivesZeroMeanAndUnitVarianceBeforeTheAffinePart) {
  std::vector<float> x = {1, 2, 3, 4, -2, 0, 2, 8};
  layer_norm(x, std::vector<float>(4, 1.0f), std::vector<float>(4, 0.0f), 2, 1e-12);
  for (int row = 0; row < 2; ++row) {
    double mean = 0, square = 0;
    for (int i = 0; i < 4; ++i) mean += x[row * 4 + i], square += x[row * 4 + i] * x[row * 4 + i];
    EXPECT_NEAR(mean, 0, 1e-6);
    EXPECT_NEAR(square / 4, 1, 1e-6);
  }
  EXPECT_NEAR(x[0], -1.3416408f, 1e-6);
}

TEST(Reference, AttentionOfOneTokenIsItsOwnValue) {
  const ModelShape shape = small_shape();
  const SliceWeights w = random_slice(shape, 10);
  const LayerBiases biases = random_biases(shape);
  const std::vector<float> x = random_floats(6, 20);
  const SlicePart part{1, &w};
  std::vector<double> got(6);
  attention_part(shape, x, 1, {&part, 1}, biases, got);
  std::vector<float> value(3), want(6);
  linear(x, w.value, std::span(biases.value).subspan(3, 3), 1, 6, 3, value);
  linear(value, w.output, {}, 1, 3, 6, want);
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(got[i], want[i], 1e-6);
}

TEST(Reference, EqualKeysAverageTheValues) {
  const ModelShape shape = small_shape();
  SliceWeights w = random_slice(shape, 10);
  std::fill(w.key.begin(), w.key.end(), 0.0f);
  const LayerBiases biases = random_biases(shape);
  const std::vector<float> x = random_floats(3 * 6, 20);
  const SlicePart part{0, &w};
  std::vector<double> got(3 * 6);
  attention_part(shape, x, 3, {&part, 1}, biases, got);
  std::vector<float> mean(6, 0.0f), value(3), want(6);
  for (int i = 0; i < 18; ++i) mean[i % 6] += x[i] / 3;
  linear(mean, w.value, std::span(biases.value).subspan(0, 3), 1, 6, 3, value);
  linear(value, w.output, {}, 1, 3, 6, want);
  for (int t = 0; t < 3; ++t)
    for (int i = 0; i < 6; ++i) EXPECT_NEAR(got[t * 6 + i], want[i], 1e-6);
}

TEST(Reference, PartsOfAnyPartitionCombineToTheWholeLayer) {
  const ModelShape shape = small_shape();
  const SliceWeights w[] = {random_slice(shape, 30), random_slice(shape, 40)};
  const SlicePart all[] = {{0, &w[0]}, {1, &w[1]}};
  const LayerBiases biases = random_biases(shape);
  constexpr int kTokens = 4;
  const std::vector<float> x = random_floats(kTokens * 6, 50);
  std::vector<float> whole(kTokens * 6), attended(kTokens * 6), split(kTokens * 6);
  layer(shape, x, kTokens, all, biases, whole);
  std::vector<double> first(kTokens * 6), second(kTokens * 6);
  const std::span<const double> partials[] = {first, second};
  attention_part(shape, x, kTokens, {&all[0], 1}, biases, first);
  attention_part(shape, x, kTokens, {&all[1], 1}, biases, second);
  combine(shape, partials, x, biases.attention, biases.attention_norm_weight, biases.attention_norm_bias, kTokens, attended);
  ffn_part(shape, attended, kTokens, {&all[0], 1}, biases, first);
  ffn_part(shape, attended, kTokens, {&all[1], 1}, biases, second);
  combine(shape, partials, attended, biases.down, biases.ffn_norm_weight, biases.ffn_norm_bias, kTokens, split);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(split[i], whole[i], 1e-6) << i;
}

TEST(Reference, EmbedNormalisesTheSumOfItsThreeRows) {
  ModelShape shape = small_shape();
  shape.hidden = 4;
  const std::vector<float> word = {1, 0, 0, 0}, position = {0, 2, 0, 0}, type = {0, 0, 3, 4};
  std::vector<float> y(4), want = {1, 2, 3, 4};
  embed(shape, word, position, type, std::vector<float>(4, 2.0f), std::vector<float>(4, 1.0f), 1, y);
  layer_norm(want, std::vector<float>(4, 2.0f), std::vector<float>(4, 1.0f), 1, shape.layer_norm_eps);
  EXPECT_EQ(y, want);
}

TEST(Reference, ExitReadsTheFirstTokenOnly) {
  ModelShape shape = small_shape();
  shape.hidden = 2;
  const std::vector<float> x = {0.5f, -1.0f, 100.0f, 100.0f}, pooler = {1, 0, 0, 1}, zero = {0, 0},
                           classifier = {1, 1, 1, -1};
  std::vector<float> logits(2);
  exit_head(shape, x, pooler, zero, classifier, zero, logits);
  EXPECT_NEAR(logits[0], std::tanh(0.5) + std::tanh(-1.0), 1e-6);
  EXPECT_NEAR(logits[1], std::tanh(0.5) - std::tanh(-1.0), 1e-6);
}

}  // namespace
}  // namespace tessera::reference
