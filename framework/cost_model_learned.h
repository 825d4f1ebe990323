// Learns, robustly, by what factor measured times differ from a model's own, kind of task by kind of task.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <vector>

#include "framework/cost_model.h"

namespace tessera {

// Ratios measured / predicted, one window per kind of task. A window starts with fifteen ratios of 1, so that one wild
// request moves neither the median nor the median absolute deviation much.
class LearnedRatios {
 public:
  // Kind of task: op, decoded or not (of a transfer: its direction), token bucket (0 for loads and transfers: one correction
  // keeps costs non-decreasing in bytes).
  static int kind_of(const CostKey& key);
  static Op op_of(int kind);
  // Refuses (false) what is not positive or not finite.
  bool observe(const CostKey& key, Duration predicted, Duration measured);
  // Scales `own` by the median ratio, widens its spread to the deviation seen, and says that it was measured.
  Estimate apply(const CostKey& key, Estimate own) const;

  std::vector<LearnedWindow> save() const;
  // Takes over what save() gave; ignores ratios that cannot be (not finite, not within [1/100, 100]).
  void restore(const std::vector<LearnedWindow>& windows);

 private:
  struct Window {
    std::deque<double> ratios;  // oldest first, at most kWindow
    int64_t samples = 0;
    double median = 1;
    double deviation = 0;  // scaled MAD: sigma of the ratio where it is normal
    void add(double ratio);
    void summarise();
  };
  std::map<int, Window> windows_;
};

// Median of `values` (moved about); 0 where empty. For even counts the mean of the two in the middle.
double median_of(std::vector<double>& values);

}  // namespace tessera
