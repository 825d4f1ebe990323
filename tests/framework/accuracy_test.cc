// Tests that losses add up exactly and that accuracy falls with loss.
#include <gtest/gtest.h>

#include "framework/accuracy_model.h"

namespace tessera {
namespace {

ModelShape shape_of(int layers, int slices) {
  ModelShape shape;
  shape.layers = layers;
  shape.slices = slices;
  return shape;
}

// 2 layers x 2 slices; sensitivity of (l, j) at level b is 1000 * (shard index + 1) where absent, 100 times that index at
// 2 bits, 0 exact.
AccuracyModel small_model() {
  AccuracyModel m;
  m.layers = m.slices = 2;
  m.base = {{50'000}, {10'000}};
  m.sensitivity.resize(4 * kBitsLevels);
  for (int i = 0; i < 4; ++i) {
    m.sensitivity[i * kBitsLevels] = {1000 * (i + 1)};
    m.sensitivity[i * kBitsLevels + 2] = {100 * (i + 1)};
  }
  m.scale_ppm = {2'000'000, 1'000'000, 1'500'000, 1'000'000};
  m.map = {{{0}, {900'000}}, {{10'000}, {880'000}}, {{30'000}, {800'000}}};
  return m;
}

TEST(AccuracyModel, LosesNothingBeyondItsBaseAtFullWidthExact) {
  const AccuracyModel m = small_model();
  EXPECT_EQ(m.loss(1, {kExact, kExact}).n, 50'000);
  EXPECT_EQ(m.loss(2, {kExact, kExact, kExact, kExact}).n, 10'000);
}

TEST(AccuracyModel, KnowsOnlyPrefixesWhereItWasMeasuredOnThem) {
  AccuracyModel m = small_model();
  EXPECT_TRUE(m.knows(2, {2, 2, 0, 2}));
  m.prefixes_only = true;
  EXPECT_TRUE(m.knows(2, {2, 0, 2, 2}));
  EXPECT_FALSE(m.knows(2, {2, 2, 0, 2}));
  EXPECT_TRUE(m.knows(1, {2, 2, 0, 2}));
}

TEST(AccuracyModel, AddsTheSensitivityOfEachShard) {
  EXPECT_EQ(small_model().loss(2, {2, 2, 2, 2}).n, 10'000 + 100 + 200 + 300 + 400);
}

TEST(AccuracyModel, CountsAbsentSlicesAndScalesByDepthAndWidth) {
  // Width 1 of depth 2: scale 1.5; absent shards 1 and 3 cost 2000 + 4000, 2-bit shards 0 and 2 cost 100 + 300.
  EXPECT_EQ(small_model().loss(2, {2, kAbsent, 2, kAbsent}).n, 10'000 + 9'600);
}

TEST(AccuracyModel, RoundsTheMeanWidth) {
  // 3 of 4 shards: mean width 1.5 rounds to 2, so that nothing is scaled.
  EXPECT_EQ(small_model().loss(2, {kExact, kExact, kExact, kAbsent}).n, 10'000 + 4'000);
}

TEST(AccuracyModel, InterpolatesAccuracyInWholeMillionths) {
  const AccuracyModel m = small_model();
  EXPECT_EQ(m.accuracy({-5}).n, 900'000);
  EXPECT_EQ(m.accuracy({0}).n, 900'000);
  EXPECT_EQ(m.accuracy({5'000}).n, 890'000);
  EXPECT_EQ(m.accuracy({10'000}).n, 880'000);
  EXPECT_EQ(m.accuracy({20'000}).n, 840'000);
  EXPECT_EQ(m.accuracy({999'999}).n, 800'000);
}

TEST(AccuracyModel, NeverRisesWithLoss) {
  AccuracyModel m = small_model();
  m.map = {{{0}, {900'000}}, {{7}, {899'998}}, {{1'000'003}, {500'000}}};
  Micro before = m.accuracy({0});
  for (int64_t loss = 0; loss < 3000; ++loss) {
    const Micro now = m.accuracy({loss});
    ASSERT_LE(now, before) << loss;
    before = now;
  }
}

TEST(AccuracyModel, KnowsNoAccuracyWithoutAProfile) {
  AccuracyModel m = small_model();
  m.map.clear();
  EXPECT_FALSE(m.profiled());
  EXPECT_EQ(m.accuracy({1}).n, 0);
}

TEST(RandomImportance, IsTheSameOnEveryMachine) {
  const AccuracyModel m = random_importance(shape_of(12, 12), 7);
  EXPECT_FALSE(m.profiled());
  ASSERT_EQ(m.importance_accuracy.size(), 144u);
  EXPECT_EQ(m.importance_accuracy[0].n, 507'487);
  EXPECT_EQ(m.importance_accuracy[143].n, 501'912);
  EXPECT_NE(random_importance(shape_of(12, 12), 8).importance_accuracy, m.importance_accuracy);
  EXPECT_EQ(random_importance(shape_of(12, 12), 7).sensitivity, m.sensitivity);
}

TEST(RandomImportance, PrefersMoreBitsMoreSlicesAndMoreLayers) {
  const AccuracyModel m = random_importance(shape_of(4, 3), 1);
  for (int16_t l = 0; l < 4; ++l) {
    for (int16_t j = 0; j < 3; ++j) {
      for (int level = 1; level < kBitsLevels; ++level)
        EXPECT_LE(m.loss_delta({l, j}, level_bits(level)), m.loss_delta({l, j}, level_bits(level - 1)));
      EXPECT_EQ(m.loss_delta({l, j}, kExact).n, 0);
    }
  }
  EXPECT_GT(m.base[0], m.base[3]);
  EXPECT_EQ(m.base[3].n, 0);
}

}  // namespace
}  // namespace tessera
