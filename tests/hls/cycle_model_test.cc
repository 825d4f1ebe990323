// Checks the cycle models: against counts worked out by hand from the loops, and for the shape that costs must have.
#include <gtest/gtest.h>

#include "hls/cycles/layer_cycles.h"

namespace tessera::hls {
namespace {

using mm::MatmulCall;

// Embedded model's Up of a slice: [128, 384], 6 bits, no outliers, one tile of 16 tokens.
constexpr MatmulCall kUp{16, 384, 128, 6, 2, 0, false};

TEST(HlsCycleModel, CountsAPanelStepForEachInput) {
  // 8 panels x 384 inputs, and 16 steps in which the last sums leave.
  EXPECT_EQ(mm::tile_cycles<Real>(kUp), 8u * 384 + 16);
  static_assert(mm::tile_cycles<Real>(kUp) == 3088, "known while compiling");
}

TEST(HlsCycleModel, LetsTheSlowestStageSetThePace) {
  MatmulCall call = kUp;
  call.outliers = 500;  // a cycle each in the decoder
  EXPECT_EQ(mm::tile_cycles<Real>(call), 8u * 384 + 500);
  // O [384, 32]: 24 panels of 32 steps; sums take two cycles a row.
  EXPECT_EQ(mm::tile_cycles<Real>({16, 32, 384, 6, 2, 0, true}), 24u * 16 * 2 + 16);
  EXPECT_EQ(mm::tile_cycles<Fixed16>({32, 32, 384, 6, 2, 0, true}), 24u * 32 * 2);
  // One panel in fixed point: 32 rows of x take longer to enter than 384 steps.
  EXPECT_EQ(mm::tile_cycles<Fixed16>({32, 384, 16, 6, 2, 0, false}), 32u * 24);
}

TEST(HlsCycleModel, ReadsTheMatrixAgainForEachTile) {
  const auto one = mm::matmul_cost<Real>(kUp);
  MatmulCall two = kUp;
  two.tokens = 17;
  EXPECT_EQ(mm::matmul_cost<Real>(two).cycles - one.cycles, 3088u);
  EXPECT_EQ(mm::matrix_bytes(kUp), 128u * 384 * 6 / 8);
  EXPECT_EQ(mm::matmul_cost<Real>(two).bytes - one.bytes, mm::matrix_bytes(kUp) + 4 * (384 + 128));
}

TEST(HlsCycleModel, NearsThePeakOfTheArrayForLongInputsOnly) {
  MatmulCall call = kUp;
  double before = 0;
  for (const uint64_t tokens : {16, 64, 128, 512}) {
    call.tokens = tokens;
    const double share = mm::share_of_peak<Real>(mm::matmul_cost<Real>(call));
    EXPECT_GT(share, before);
    EXPECT_LT(share, 1);
    before = share;
  }
  EXPECT_GT(before, 0.9);
  call.tokens = 1;  // one of 16 rows works
  EXPECT_LT(mm::share_of_peak<Real>(mm::matmul_cost<Real>(call)), 1.0 / 16);
}

TEST(HlsCycleModel, MeetsEveryKeyWithEveryQueryOfATile) {
  // One more tile of 16 queries over 33 keys of width 32: queries enter, 33 x 16 meetings.
  EXPECT_EQ(attn::attention_cost(33, 32).cycles - attn::attention_cost(32, 32).cycles,
            3u * (16 + 33 * 16) - 2 * (16 + 32 * 16));
  // Twice the width takes two cycles a meeting.
  EXPECT_GT(attn::attention_cost(64, 64).cycles, 2 * attn::attention_cost(64, 32).cycles * 9 / 10);
}

TEST(HlsCycleModel, PacksProductsOnTheUnitsLongestFirst) {
  EXPECT_EQ(makespan(1, 3, 10, 7), 37u);
  EXPECT_EQ(makespan(2, 3, 10, 7), 20u);  // 10 10 | 10 7
  EXPECT_EQ(makespan(4, 3, 10, 7), 10u);
  EXPECT_EQ(makespan(2, 1, 10, 30), 30u);
  EXPECT_EQ(makespan(2, 0, 10, 7), 7u);
  EXPECT_EQ(makespan(3, 0, 10, 0), 0u);
}

constexpr LayerWork kLayer{1, 64, 12, 384, 32, 128, 6, 2};

TEST(HlsCycleModel, AddsHalvesAndJoinsToALayer) {
  const CardUnits card{2, 0, 100};
  EXPECT_EQ(layer_cycles<Real>(card, kLayer), attention_part_cycles<Real>(card, kLayer) +
                                                  ffn_part_cycles<Real>(card, kLayer) + 2 * combine_cycles(card, kLayer, 1));
  const CardUnits slower{2, 0, 1100};  // 14 stages in each half, and two joins
  EXPECT_EQ(layer_cycles<Real>(slower, kLayer) - layer_cycles<Real>(card, kLayer), 1000.0 * (14 + 14 + 2));
}

TEST(HlsCycleModel, NeverFallsAsWorkGrows) {
  const CardUnits card{2, 100, 1000};
  double before = 0;
  for (uint64_t slices = 1; slices <= 12; ++slices) {
    LayerWork w = kLayer;
    w.slices = slices;
    EXPECT_GT(layer_cycles<Real>(card, w), before);
    before = layer_cycles<Real>(card, w);
  }
  before = 0;
  for (uint64_t tokens = 1; tokens <= 512; ++tokens) {
    LayerWork w = kLayer;
    w.tokens = tokens;
    EXPECT_GE(layer_cycles<Real>(card, w), before);
    before = layer_cycles<Real>(card, w);
  }
  LayerWork w = kLayer;
  EXPECT_EQ(attention_part_cycles<Real>(card, w), attention_part_cycles<Real>({2, 0, 1000}, w)) << "memory keeps up";
  EXPECT_GT(attention_part_cycles<Real>({2, 0.5, 1000}, w), attention_part_cycles<Real>(card, w)) << "memory does not";
}

TEST(HlsCycleModel, KnowsWhatItsArraysHold) {
  EXPECT_TRUE(fits(kLayer));
  LayerWork w = kLayer;
  w.hidden = kMostIn + 1;
  EXPECT_FALSE(fits(w));
  w = kLayer;
  w.head_width = kMostHeadWidth + 1;
  EXPECT_FALSE(fits(w));
}

}  // namespace
}  // namespace tessera::hls
