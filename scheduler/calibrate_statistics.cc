// Summarises repeated measurements robustly: wild ones move neither the middle nor the spread much.
#include <algorithm>
#include <cmath>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

constexpr double kSigmaPerMad = 1.4826;  // of a normal distribution
constexpr double kZ95 = 1.6448536269514722;
constexpr double kConfidence = 0.95;

// The largest k for which the k-th smallest and k-th largest of n enclose the median with at least kConfidence, and with how
// much: 1 - 2 P(fewer than k of n fair coins). At least 1.
std::pair<size_t, double> enclosing_rank(size_t n) {
  double tail = 0, term = std::pow(0.5, static_cast<double>(n));  // P(none)
  size_t k = 0;
  double level = 0;
  for (size_t i = 0; 2 * (i + 1) <= n + 1; ++i) {
    tail += term;
    if (k > 0 && 1 - 2 * tail < kConfidence) break;
    k = i + 1;
    level = std::max(0.0, 1 - 2 * tail);
    term = term * static_cast<double>(n - i) / static_cast<double>(i + 1);
  }
  return {k, level};
}

double middle_of(const std::vector<double>& sorted) {
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return middle_of(values);
}

Summary summarise(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const double middle = middle_of(seconds);
  Summary s;
  const auto [rank, level] = enclosing_rank(seconds.size());
  s.level = level;
  if (middle > 0) s.half_width = (seconds[seconds.size() - rank] - seconds[rank - 1]) / 2 / middle;
  Estimate& e = s.estimate;
  e.samples = static_cast<int64_t>(seconds.size());
  for (double& v : seconds) v = std::fabs(v - middle);
  const double sigma = kSigmaPerMad * median(std::move(seconds));
  e.provenance = Provenance::kMeasured;
  e.mean = from_seconds(middle);
  e.p95 = from_seconds(middle + kZ95 * sigma);
  e.variance_ns2 = sigma * sigma * 1e18;
  return s;
}

}  // namespace tessera::calibration
