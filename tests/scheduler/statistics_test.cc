// Intervals and tests of significance, against values that others computed.
#include "scheduler/statistics.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace tessera::testing {
namespace {

// Binomial tails of 1/2: 2 * (sum of C(n, k), k <= min(b, c)) / 2^n, exact fractions.
TEST(McNemar, AgreesWithExactBinomialTails) {
  EXPECT_NEAR(mcnemar_exact(1, 8), 20.0 / 512, 1e-12);
  EXPECT_NEAR(mcnemar_exact(0, 6), 2.0 / 64, 1e-12);
  EXPECT_NEAR(mcnemar_exact(3, 10), 756.0 / 8192, 1e-12);
  EXPECT_NEAR(mcnemar_exact(10, 25), 0.01667384780012071, 1e-12);
}

// Approval ratings of Agresti, "Categorical Data Analysis", table 10.1 (2nd ed.): 150 changed one way, 86 the other; the
// exact p is that of R's binom.test(86, 236).
TEST(McNemar, AgreesWithAgrestisApprovalRatings) { EXPECT_NEAR(mcnemar_exact(150, 86), 3.715936139571442e-05, 1e-14); }

TEST(McNemar, IsSymmetricAndOneWhereNothingDiffers) {
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_EQ(mcnemar_exact(7, 7), 1);
  EXPECT_EQ(mcnemar_exact(0, 1), 1);
  EXPECT_EQ(mcnemar_exact(4, 9), mcnemar_exact(9, 4));
}

TEST(McNemar, StaysAProbabilityForManyPairs) {
  const double p = mcnemar_exact(40'000, 60'000);
  EXPECT_GE(p, 0);
  EXPECT_LT(p, 1e-300 + 1e-100);
  EXPECT_GT(mcnemar_exact(50'000, 50'001), 0.99);
}

// Of a share p of n sentences the percentile interval is near p +- 1.96 sqrt(p (1 - p) / n) (Efron and Tibshirani, 1993,
// section 13.2): here 0.9 +- 0.0199.
TEST(Bootstrap, IsNearTheNormalIntervalOfAShare) {
  std::vector<double> right(872, 0);
  std::fill(right.begin(), right.begin() + 785, 1.0);
  const Interval interval = bootstrap_mean(right, 1);
  const double p = 785.0 / 872, half = 1.96 * std::sqrt(p * (1 - p) / 872);
  EXPECT_NEAR(interval.low, p - half, 0.003);
  EXPECT_NEAR(interval.high, p + half, 0.003);
}

TEST(Bootstrap, OfPairedDifferencesLeavesOutWhatBothShare) {
  // Nine of ten sentences are answered alike: the interval of the difference is that of the tenth alone.
  std::vector<double> difference(1000, 0);
  for (size_t i = 0; i < 100; ++i) difference[i] = i < 80 ? 1 : -1;
  const Interval interval = bootstrap_mean(difference, 3);
  const double mean = 0.06, half = 1.96 * std::sqrt((0.1 - mean * mean) / 1000);
  EXPECT_NEAR(interval.low, mean - half, 0.003);
  EXPECT_NEAR(interval.high, mean + half, 0.003);
}

TEST(Bootstrap, AnswersTheSameForTheSameSeed) {
  const std::vector<double> values{0, 1, 1, 0, 1, 1, 1, 0.5};
  EXPECT_EQ(bootstrap_mean(values, 7).low, bootstrap_mean(values, 7).low);
  EXPECT_EQ(bootstrap_mean(values, 7).high, bootstrap_mean(values, 7).high);
  EXPECT_LT(bootstrap_mean(values, 7).low, bootstrap_mean(values, 7).high);
}

TEST(Bootstrap, OfNothingAndOfConstants) {
  EXPECT_EQ(bootstrap_mean({}, 1).high, 0);
  const std::vector<double> ones(5, 1.0);
  EXPECT_EQ(bootstrap_mean(ones, 1).low, 1);
  EXPECT_EQ(bootstrap_mean(ones, 1).high, 1);
}

}  // namespace
}  // namespace tessera::testing
