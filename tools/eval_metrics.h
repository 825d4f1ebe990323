// Computes accuracy metrics and distributions for `tessera eval`.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace tessera {

// The value below which a share q of the values lies (nearest rank: always one of the values). Sorts. 0 where empty.
double percentile(std::vector<double>& values, double q);

// Counts of predicted against given labels.
class Confusion {
 public:
  explicit Confusion(int labels) : labels_(labels), counts_(static_cast<size_t>(labels) * labels) {}
  void add(int given, int predicted);
  int64_t total() const { return total_; }
  double accuracy() const;  // 0 where empty
  // For two labels, label 1 positive. nullopt where undefined (a zero denominator).
  std::optional<double> f1() const;
  std::optional<double> matthews() const;

 private:
  int64_t at(int given, int predicted) const { return counts_[static_cast<size_t>(given) * labels_ + predicted]; }
  int labels_;
  std::vector<int64_t> counts_;
  int64_t total_ = 0;
};

}  // namespace tessera
