// Computes metrics.
#include "tools/eval_metrics.h"

#include <algorithm>
#include <cmath>

namespace tessera {

double percentile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::clamp<size_t>(rank, 1, values.size()) - 1];
}

void Confusion::add(int given, int predicted) {
  if (given < 0 || given >= labels_ || predicted < 0 || predicted >= labels_) return;
  ++counts_[static_cast<size_t>(given) * labels_ + predicted];
  ++total_;
}

double Confusion::accuracy() const {
  int64_t right = 0;
  for (int k = 0; k < labels_; ++k) right += at(k, k);
  return total_ == 0 ? 0 : static_cast<double>(right) / static_cast<double>(total_);
}

std::optional<double> Confusion::f1() const {
  if (labels_ != 2) return std::nullopt;
  const double denominator = 2.0 * static_cast<double>(at(1, 1)) + static_cast<double>(at(0, 1) + at(1, 0));
  if (denominator == 0) return std::nullopt;
  return 2.0 * static_cast<double>(at(1, 1)) / denominator;
}

std::optional<double> Confusion::matthews() const {
  if (labels_ != 2) return std::nullopt;
  const auto tp = static_cast<double>(at(1, 1)), tn = static_cast<double>(at(0, 0));
  const auto fp = static_cast<double>(at(0, 1)), fn = static_cast<double>(at(1, 0));
  const double denominator = std::sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn));
  if (denominator == 0) return std::nullopt;
  return (tp * tn - fp * fn) / denominator;
}

}  // namespace tessera
