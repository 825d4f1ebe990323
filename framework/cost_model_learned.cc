// Learns by what factor measured times differ from a model's own.
#include "framework/cost_model_learned.h"

#include <algorithm>
#include <cmath>

#include "framework/cost_model_work.h"

namespace tessera {
namespace {

// A request brings a dozen tasks of a kind, and whatever slows it down slows them all: one wild request must not rule. What
// such requests add to the tail is learned of whole requests, not here.
constexpr size_t kWindow = 255;  // ratios kept per kind: twenty requests
constexpr size_t kPrior = 15;    // ratios of 1 that stand in before anything was seen
constexpr double kWildest = 100;
constexpr int kBuckets = 1024;           // above every token bucket
constexpr double kSigmaPerMad = 1.4826;  // of a normal distribution
constexpr double kZ95 = 1.6448536269514722;

bool believable(double ratio) { return std::isfinite(ratio) && ratio >= 1 / kWildest && ratio <= kWildest; }

int64_t rounded(double ns) { return static_cast<int64_t>(std::floor(std::clamp(ns, 0.0, 4.6e18) + 0.5)); }

}  // namespace

double median_of(std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

int LearnedRatios::kind_of(const CostKey& key) {
  const int bucket = is_compute(key.op) ? token_bucket(key.tokens) : 0;
  const bool second = key.op == Op::kTransfer ? key.to_host : key.decoded;
  return (static_cast<int>(key.op) * 2 + (second ? 1 : 0)) * kBuckets + bucket;
}

Op LearnedRatios::op_of(int kind) { return static_cast<Op>(kind / kBuckets / 2); }

void LearnedRatios::Window::add(double ratio) {
  if (samples == 0 && ratios.empty()) ratios.assign(kPrior, 1.0);
  ratios.push_back(ratio);
  if (ratios.size() > kWindow) ratios.pop_front();
  ++samples;
  summarise();
}

void LearnedRatios::Window::summarise() {
  std::vector<double> values(ratios.begin(), ratios.end());
  median = median_of(values);
  for (double& v : values) v = std::fabs(v - median);
  deviation = kSigmaPerMad * median_of(values);
}

bool LearnedRatios::observe(const CostKey& key, Duration predicted, Duration measured) {
  if (measured.ns <= 0 || predicted.ns <= 0) return false;
  const double ratio = static_cast<double>(measured.ns) / static_cast<double>(predicted.ns);
  windows_[kind_of(key)].add(std::clamp(ratio, 1 / kWildest, kWildest));
  return true;
}

Estimate LearnedRatios::apply(const CostKey& key, Estimate own) const {
  if (windows_.empty()) return own;
  const auto found = windows_.find(kind_of(key));
  if (found == windows_.end()) return own;
  const Window& w = found->second;
  const double mean = static_cast<double>(own.mean.ns);
  const double spread = static_cast<double>(own.p95.ns - own.mean.ns) * w.median;
  const double seen = kZ95 * w.deviation * mean;
  own.mean = {rounded(mean * w.median)};
  own.p95 = {std::max(own.mean.ns, rounded(mean * w.median + std::max(spread, seen)))};
  own.variance_ns2 = std::max(own.variance_ns2 * w.median * w.median, w.deviation * w.deviation * mean * mean);
  own.samples += w.samples;
  return own;
}

std::vector<LearnedWindow> LearnedRatios::save() const {
  std::vector<LearnedWindow> saved;
  for (const auto& [kind, w] : windows_) saved.push_back({kind, w.samples, {w.ratios.begin(), w.ratios.end()}});
  return saved;
}

void LearnedRatios::restore(const std::vector<LearnedWindow>& saved) {
  windows_.clear();
  for (const LearnedWindow& from : saved) {
    Window w;
    for (double ratio : from.ratios)
      if (believable(ratio)) w.ratios.push_back(ratio);
    while (w.ratios.size() > kWindow) w.ratios.pop_front();
    if (w.ratios.size() < kPrior) continue;  // less than a window's prior was never saved by us
    w.samples = std::max<int64_t>(from.samples, 0);
    w.summarise();
    windows_[from.kind] = std::move(w);
  }
}

}  // namespace tessera
