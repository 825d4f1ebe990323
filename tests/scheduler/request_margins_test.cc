// What whole requests teach: medians, conformal quantiles, and what a plan's costs become.
#include "scheduler/request_margins.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

namespace tessera {
namespace {

const RequestKind kSti{"sti", false};

RequestTiming timing(double ratio, double quantile = 0.95, Duration setup = microseconds(100)) {
  RequestTiming t;
  t.setup = setup;
  t.measured = from_seconds(0.010 * ratio);
  t.expected = milliseconds(10);
  t.planned = milliseconds(10);
  t.quantile = quantile;
  return t;
}

Margin after(int requests, double ratio) {
  RequestMargins margins;
  for (int i = 0; i < requests; ++i) EXPECT_TRUE(margins.observe(kSti, timing(ratio)));
  return margins.margin(kSti, 0.95);
}

TEST(RequestMargins, CorrectNothingBeforeTheThirdRequest) {
  for (int n : {0, 1, 2}) {
    const Margin m = after(n, 2);
    EXPECT_EQ(m.middle, 1) << n;
    EXPECT_EQ(m.high, 1) << n;
    EXPECT_EQ(m.setup, Duration{}) << n;
  }
  EXPECT_DOUBLE_EQ(after(3, 2).middle, 2);
  EXPECT_DOUBLE_EQ(after(3, 2).high, 2);
  EXPECT_EQ(after(3, 2).setup, microseconds(100));
}

TEST(RequestMargins, TakeTheMedianForTheMiddleAndTheWorstWhereTheyAreFew) {
  RequestMargins margins;
  for (const double ratio : {1.0, 1.1, 1.2, 1.3, 3.0}) margins.observe(kSti, timing(ratio));
  EXPECT_DOUBLE_EQ(margins.margin(kSti, 0.95).middle, 1.2);
  EXPECT_DOUBLE_EQ(margins.margin(kSti, 0.95).high, 3.0);
}

TEST(RequestMargins, AnInterruptedRequestCountsForAFewTimesItsReplayAtMost) {
  RequestMargins margins;
  for (int i = 0; i < 5; ++i) margins.observe(kSti, timing(1000));
  EXPECT_LE(margins.margin(kSti, 0.95).high, 4);
}

TEST(RequestMargins, RefuseTimesThatCannotBe) {
  RequestMargins margins;
  RequestTiming t = timing(1);
  t.measured = {};
  EXPECT_FALSE(margins.observe(kSti, t));
  t = timing(1);
  t.planned = {-1};
  EXPECT_FALSE(margins.observe(kSti, t));
  EXPECT_TRUE(margins.save().empty());
}

// The share of requests within what was planned, for requests drawn from one distribution.
double covered(double quantile, int requests, uint64_t seed) {
  RequestMargins margins;
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> ratio(0, 0.2);
  int within = 0, counted = 0;
  for (int i = 0; i < requests; ++i) {
    const double r = ratio(random);
    const Margin m = margins.margin(kSti, quantile);
    if (i >= 64) {
      ++counted;
      within += r <= m.high * 1.05;  // a margin stays until it would move by a twentieth
    }
    RequestTiming t = timing(r, quantile);
    t.late = r > m.high;
    margins.observe(kSti, t);
  }
  return static_cast<double>(within) / counted;
}

TEST(RequestMargins, CoverTheShareThatWasAskedFor) {
  for (const double q : {0.8, 0.9, 0.95}) {
    double mean = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) mean += covered(q, 1000, seed) / 20;
    EXPECT_GE(mean, q);
    EXPECT_LE(mean, q + 0.6 * (1 - q) + 0.02);
  }
}

TEST(RequestMargins, RiseAtOnceWhereTheMachineSlowsDown) {
  RequestMargins margins;
  for (int i = 0; i < 128; ++i) margins.observe(kSti, timing(i % 20 == 0 ? 1.3 : 1.0));
  int late = 0;
  for (int i = 0; i < 100; ++i) {
    RequestTiming t = timing(1.6);
    t.late = 1.6 > margins.margin(kSti, 0.95).high;
    late += t.late;
    margins.observe(kSti, t);
  }
  EXPECT_LE(late, 4);
}

TEST(RequestMargins, AskOtherPoliciesOnlyWhileAPolicyHasTooFewOfItsOwn) {
  RequestMargins margins;
  for (int i = 0; i < 40; ++i) margins.observe(kSti, timing(2));
  const RequestKind other{"preload", false};
  EXPECT_DOUBLE_EQ(margins.margin(other, 0.95).high, 2);
  for (int i = 0; i < 19; ++i) margins.observe(other, timing(1));
  EXPECT_DOUBLE_EQ(margins.margin(other, 0.95).high, 1);
}

TEST(RequestMargins, KeepTheFirstRequestOfASessionApart) {
  RequestMargins margins;
  for (int i = 0; i < 40; ++i) margins.observe(kSti, timing(1.5));
  const RequestKind first{"sti", true};
  EXPECT_DOUBLE_EQ(margins.margin(first, 0.95).high, 1.5);  // better than knowing nothing
  for (int i = 0; i < 19; ++i) margins.observe(first, timing(2.5));
  EXPECT_DOUBLE_EQ(margins.margin(first, 0.95).high, 2.5);
  EXPECT_DOUBLE_EQ(margins.margin(kSti, 0.95).high, 1.5);
}

TEST(RequestMargins, AMarginOfOneQuantileSaysNothingOfAnother) {
  RequestMargins margins;
  for (int i = 0; i < 40; ++i) margins.observe(kSti, timing(2, 0.95));
  EXPECT_EQ(margins.margin(kSti, 0.8).high, 1);
  EXPECT_DOUBLE_EQ(margins.margin(kSti, 0.8).middle, 2);
  EXPECT_DOUBLE_EQ(margins.margin(kSti, 0.5).high, 2);  // the middle one
}

TEST(RequestMargins, SurviveAFileAndRefuseItsDamage) {
  RequestMargins margins;
  for (int i = 0; i < 40; ++i) margins.observe(kSti, timing(1 + 0.01 * i));
  RequestMargins other;
  other.restore(margins.save());
  EXPECT_NEAR(other.margin(kSti, 0.95).high, margins.margin(kSti, 0.95).high, 0.05);
  std::vector<RequestWindow> damaged = margins.save();
  for (RequestWindow& w : damaged) w.high[3] = std::nan("");
  other.restore(damaged);
  EXPECT_TRUE(other.save().empty());
}

TEST(RequestMargins, ForgetTheWorstWhereItRefusesRequests) {
  RequestMargins margins;
  for (int i = 0; i < 128; ++i) margins.observe(kSti, timing(i >= 100 && i < 110 ? 4.0 : 1.0));
  ASSERT_DOUBLE_EQ(margins.margin(kSti, 0.95).high, 4);
  int refusals = 0;
  for (; margins.margin(kSti, 0.95).high > 1.5 && refusals < 100; ++refusals) margins.doubt(kSti);
  EXPECT_LE(refusals, 10);
  for (int i = 0; i < 500; ++i) margins.doubt(kSti);  // nothing is left to forget
  EXPECT_EQ(margins.margin(kSti, 0.95).high, 1);
}

class FixedCosts final : public CostOracle {
 public:
  Estimate estimate(const CostKey&) const override {
    Estimate e;
    e.mean = milliseconds(2);
    e.p95 = milliseconds(3);
    return e;
  }
};

TEST(MarginCosts, ScaleTheMiddleAndTheQuantileEachByItsOwn) {
  const FixedCosts costs;
  Margin margin;
  margin.middle = 1.5;
  margin.high = 2;
  margin.setup = milliseconds(1);
  margin.setup_high = milliseconds(4);
  for (const double q : {0.75, 0.9, 0.95, 0.99}) {
    const MarginCosts with(costs, margin, q);
    CostKey layer, rows;
    layer.op = Op::kLayer;
    rows.op = Op::kLoadRows;
    const Duration raw = costs.estimate(layer).at(q);
    EXPECT_EQ(with.estimate(layer).mean, milliseconds(3));
    EXPECT_NEAR(static_cast<double>(with.estimate(layer).at(q).ns), 2.0 * static_cast<double>(raw.ns), 2) << q;
    EXPECT_EQ(with.estimate(rows).mean, milliseconds(4));
    EXPECT_NEAR(static_cast<double>(with.estimate(rows).at(q).ns), 2.0 * static_cast<double>(raw.ns) + 4e6, 2) << q;
  }
}

TEST(MarginCosts, NoMarginChangesNothing) {
  const FixedCosts costs;
  for (const double q : {0.5, 0.9, 0.95}) {
    const Estimate e = MarginCosts(costs, {}, q).estimate({});
    EXPECT_EQ(e.mean, milliseconds(2));
    EXPECT_NEAR(static_cast<double>(e.p95.ns), 3e6, 1);
  }
}

}  // namespace
}  // namespace tessera
