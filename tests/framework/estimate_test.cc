// Tests where quantiles of an estimate lie.
#include "framework/estimate.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

Estimate spread(int64_t mean_ns, int64_t p95_ns) {
  Estimate e;
  e.mean = {mean_ns};
  e.p95 = {p95_ns};
  return e;
}

TEST(Estimate, GivesMeanAtTheMedianAndP95At95) {
  const Estimate e = spread(1'000'000, 1'300'000);
  EXPECT_EQ(e.at(0.5).ns, 1'000'000);
  EXPECT_EQ(e.at(0.95).ns, 1'300'000);
}

TEST(Estimate, FollowsTheNormalDistributionBetweenAndAbove) {
  // z(0.75) = 0.67448975, z(0.99) = 2.32634787, z(0.999) = 3.09023231, over z(0.95) = 1.64485363.
  const Estimate e = spread(0, 1'000'000'000);
  EXPECT_NEAR(e.at(0.75).ns, 410'060'000, 10'000);
  EXPECT_NEAR(e.at(0.99).ns, 1'414'319'000, 10'000);
  EXPECT_NEAR(e.at(0.999).ns, 1'878'728'000, 10'000);
}

TEST(Estimate, GoldenNanosecondsAreTheSameOnEveryMachine) {
  const Estimate e = spread(123'456'789, 987'654'321);
  EXPECT_EQ(e.at(0.6).ns, 256'564'038);
  EXPECT_EQ(e.at(0.9).ns, 796'777'309);
  EXPECT_EQ(e.at(0.98).ns, 1'202'485'775);
}

TEST(Estimate, NeverDecreasesWithTheQuantile) {
  const Estimate e = spread(5'000, 9'000);
  Duration before;
  for (int i = 500; i < 1000; ++i) {
    const Duration now = e.at(i / 1000.0);
    EXPECT_GE(now, before) << i;
    before = now;
  }
}

TEST(Estimate, HasNoSpreadWhereNoneIsKnown) {
  EXPECT_EQ(spread(700, 700).at(0.999).ns, 700);
  EXPECT_EQ(spread(700, 0).at(0.95).ns, 700);
}

TEST(Estimate, SurvivesOddQuantilesAndHugeSpreads) {
  const Estimate e = spread(10, 1'000'000);
  EXPECT_EQ(e.at(0.0).ns, 10);
  EXPECT_EQ(e.at(-1).ns, 10);
  EXPECT_EQ(e.at(__builtin_nan("")).ns, 10);
  EXPECT_GT(e.at(1.0).ns, 1'000'000);
  EXPECT_GT(spread(0, 4'000'000'000'000'000'000).at(0.9999).ns, 0);
}

TEST(Provenance, HasAName) {
  EXPECT_EQ(to_string(Provenance::kMeasured), "measured");
  EXPECT_EQ(to_string(Provenance::kDataSheet), "data sheet");
  EXPECT_EQ(to_string(Provenance::kGuessed), "guessed");
}

}  // namespace
}  // namespace tessera
