// Checks when requests arrive: exactly, on every machine.
#include "scheduler/workload.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

namespace tessera {
namespace {

Arrivals poisson(int requests, Duration mean) {
  Arrivals arrivals;
  arrivals.kind = Arrivals::Kind::kPoisson;
  arrivals.requests = requests;
  arrivals.interval = mean;
  return arrivals;
}

Arrivals bursts(int requests) {
  Arrivals arrivals;
  arrivals.kind = Arrivals::Kind::kBursts;
  arrivals.requests = requests;
  arrivals.interval = milliseconds(60'000);
  arrivals.burst_least = 2;
  arrivals.burst_most = 5;
  arrivals.step_least = milliseconds(100);
  arrivals.step_most = milliseconds(200);
  return arrivals;
}

std::vector<double> gaps_ms(const std::vector<Duration>& times) {
  std::vector<double> gaps;
  for (size_t i = 1; i < times.size(); ++i) gaps.push_back((times[i] - times[i - 1]).ms());
  return gaps;
}

TEST(Arrivals, RegularOnesHaveOneInterval) {
  Arrivals arrivals;
  arrivals.requests = 3;
  arrivals.first = milliseconds(5);
  arrivals.interval = milliseconds(20);
  EXPECT_EQ(arrival_times(arrivals, 1), (std::vector<Duration>{milliseconds(5), milliseconds(25), milliseconds(45)}));
  arrivals.requests = 0;
  EXPECT_TRUE(arrival_times(arrivals, 1).empty());
}

// Mean, variance and three quantiles of the exponential distribution, each within five standard errors.
TEST(Arrivals, PoissonGapsAreExponential) {
  constexpr int kCount = 40'000;
  std::vector<double> gaps = gaps_ms(arrival_times(poisson(kCount + 1, milliseconds(10)), 7));
  double sum = 0, squares = 0;
  for (const double gap : gaps) {
    EXPECT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
  }
  const double mean = sum / kCount, variance = squares / kCount - mean * mean, error = 1 / std::sqrt(kCount);
  EXPECT_NEAR(mean, 10, 5 * 10 * error);
  EXPECT_NEAR(variance, 100, 5 * 100 * std::sqrt(8.0) * error);
  std::sort(gaps.begin(), gaps.end());
  for (const double q : {0.1, 0.5, 0.99}) {
    const double want = -10 * std::log(1 - q), spread = 10 * std::sqrt(q / (1 - q)) * error;
    EXPECT_NEAR(gaps[static_cast<size_t>(q * kCount)], want, 5 * spread) << "quantile " << q;
  }
}

TEST(Arrivals, PoissonGapsAreIndependent) {
  const std::vector<double> gaps = gaps_ms(arrival_times(poisson(20'001, milliseconds(10)), 3));
  double products = 0;
  for (size_t i = 1; i < gaps.size(); ++i) products += (gaps[i] - 10) * (gaps[i - 1] - 10);
  EXPECT_NEAR(products / static_cast<double>(gaps.size() - 1) / 100, 0, 5 / std::sqrt(20'000.0));
}

// These very nanoseconds, on every machine.
TEST(Arrivals, AreTheSameOnEveryMachine) {
  const std::vector<Duration> times = arrival_times(poisson(4, milliseconds(1000)), 42);
  EXPECT_EQ(times, (std::vector<Duration>{{298'992'574}, {2'132'134'198}, {3'410'108'326}, {4'476'667'700}}));
  // The logarithms are right to 2^-22: splitmix64 of seed 42 and the C library's log say 298'992'625 and 4'476'667'817.
  const std::vector<Duration> burst = arrival_times(bursts(6), 42);
  EXPECT_EQ(burst, (std::vector<Duration>{
                       {0}, {128'631'665}, {298'558'553}, {64'292'121'012}, {64'395'300'419}, {64'584'278'620}}));
}

TEST(Arrivals, EqualSeedsAreEqualAndOthersAreNot) {
  EXPECT_EQ(arrival_times(poisson(50, milliseconds(3)), 9), arrival_times(poisson(50, milliseconds(3)), 9));
  EXPECT_NE(arrival_times(poisson(50, milliseconds(3)), 9), arrival_times(poisson(50, milliseconds(3)), 10));
  EXPECT_NE(arrival_times(bursts(50), 9), arrival_times(bursts(50), 10));
}

TEST(Arrivals, BurstsHaveTheirLengthsAndSteps) {
  const std::vector<double> gaps = gaps_ms(arrival_times(bursts(4000), 5));
  std::vector<int> lengths;
  int length = 1;
  double least = 1e9, most = 0, between = 0;
  for (const double gap : gaps) {
    if (gap >= 100 && gap <= 200) {
      least = std::min(least, gap);
      most = std::max(most, gap);
      ++length;
    } else {
      lengths.push_back(length);
      length = 1;
      between += gap;
    }
  }
  // A gap between bursts is 100 to 200 ms in 0.2 % of the cases, and then two bursts look like one.
  EXPECT_EQ(*std::min_element(lengths.begin(), lengths.end()), 2);
  EXPECT_LE(std::count_if(lengths.begin(), lengths.end(), [](int n) { return n > 5; }),
            static_cast<long>(lengths.size() / 50));
  EXPECT_LT(least, 102);
  EXPECT_GT(most, 198);
  for (const int n : {2, 3, 4, 5}) {
    const double share =
        static_cast<double>(std::count(lengths.begin(), lengths.end(), n)) / static_cast<double>(lengths.size());
    EXPECT_NEAR(share, 0.25, 0.07) << "bursts of " << n;
  }
  EXPECT_NEAR(between / static_cast<double>(lengths.size()), 60'000,
              5 * 60'000 / std::sqrt(static_cast<double>(lengths.size())));
}

TEST(Arrivals, RecordedOnesAreAsRecorded) {
  Arrivals arrivals;
  arrivals.kind = Arrivals::Kind::kRecorded;
  arrivals.times = {milliseconds(1), milliseconds(1), milliseconds(9)};
  arrivals.first = milliseconds(2);
  arrivals.requests = 2;
  EXPECT_EQ(arrival_times(arrivals, 1), (std::vector<Duration>{milliseconds(3), milliseconds(3)}));
  arrivals.requests = 5;  // more than there are
  EXPECT_EQ(arrival_times(arrivals, 1).size(), 3u);
}

TEST(Arrivals, TheLongestGapsStayInTime) {
  const std::vector<Duration> times = arrival_times(poisson(kMostRequests, kLongestGap), 1);
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
  EXPECT_GT(times.back(), kLongestGap * (kMostRequests / 2));
}

}  // namespace
}  // namespace tessera
