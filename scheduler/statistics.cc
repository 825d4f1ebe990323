// Resamples, and adds up binomial tails.
#include "scheduler/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "framework/random.h"

namespace tessera {
namespace {

// Below n, by multiplication: its bias is below n / 2^32.
size_t draw_below(uint64_t& state, size_t n) { return static_cast<size_t>((splitmix64(state) >> 32) * n >> 32); }

}  // namespace

Interval bootstrap_mean(std::span<const double> values, uint64_t seed, int resamples) {
  if (values.empty() || resamples < 1) return {};
  std::vector<double> means(static_cast<size_t>(resamples));
  uint64_t state = seed;
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[draw_below(state, values.size())];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  const auto n = static_cast<int64_t>(means.size());
  const int64_t tail = n * 25 / 1000;  // 2.5 % on either side
  return {means[static_cast<size_t>(tail)], means[static_cast<size_t>(n - 1 - tail)]};
}

double mcnemar_exact(int64_t b, int64_t c) {
  const int64_t n = b + c, fewer = std::min(b, c);
  if (n <= 0 || b == c) return 1;
  double tail = 0;
  for (int64_t k = 0; k <= fewer; ++k) {
    const auto count = static_cast<double>(n), at = static_cast<double>(k);
    tail += std::exp(std::lgamma(count + 1) - std::lgamma(at + 1) - std::lgamma(count - at + 1) - count * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace tessera
