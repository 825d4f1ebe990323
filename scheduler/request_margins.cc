// Keeps windows of ratios and takes their medians and conformal quantiles.
#include "scheduler/request_margins.h"

#include <algorithm>
#include <cmath>

#include "framework/cost_model_learned.h"

namespace tessera {
namespace {

constexpr size_t kWindow = 128;        // requests: a machine's mood changes
constexpr size_t kFewest = 3;          // the least of which the middle one is not just anyone
constexpr double kWildest = 4;         // a request that took longer was interrupted; it counts as this much
constexpr double kLongestSetup = 1e9;  // ns
constexpr double kReaction = 0.02;
constexpr double kMoved = 0.05;
constexpr const char* kAll = "";

double median(const std::deque<double>& values) {
  std::vector<double> sorted(values.begin(), values.end());
  return median_of(sorted);
}

double conformal(const std::deque<double>& values, double quantile) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const auto rank = static_cast<size_t>(std::ceil(quantile * static_cast<double>(sorted.size() + 1)));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

bool moved(double from, double to) { return std::fabs(to - from) > kMoved * from; }

// Setups count where they matter beside milliseconds.
bool moved(Duration from, Duration to) { return std::llabs(to.ns - from.ns) > 50'000; }

bool moved(const Margin& from, const Margin& to) {
  return moved(from.middle, to.middle) || moved(from.high, to.high) || moved(from.setup, to.setup) ||
         moved(from.setup_high, to.setup_high);
}

Duration rounded(double ns) { return {static_cast<int64_t>(std::floor(ns + 0.5))}; }

Duration times(Duration d, double factor) { return rounded(std::clamp(static_cast<double>(d.ns) * factor, 0.0, 4e18)); }

bool believable(const std::deque<double>& values, double least, double most) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return std::isfinite(v) && v >= least && v <= most; });
}

void push(std::deque<double>& window, double value) {
  window.push_back(value);
  if (window.size() > kWindow) window.pop_front();
}

}  // namespace

void RequestMargins::Window::add(const RequestTiming& t) {
  if (t.quantile != quantile) {
    high.clear();
    level = t.quantile;
  }
  quantile = t.quantile;
  level = std::clamp(level + kReaction * ((t.late ? 1 : 0) - (1 - quantile)), quantile, 1.0);
  const auto ratio = [&](Duration replayed) {
    return std::clamp(static_cast<double>(t.measured.ns) / static_cast<double>(replayed.ns), 1 / kWildest, kWildest);
  };
  push(middle, ratio(t.expected));
  push(high, ratio(t.planned));
  push(setup_ns, std::min(static_cast<double>(t.setup.ns), kLongestSetup));
  if (const Margin now = summary(); moved(margin, now)) margin = now;
}

void RequestMargins::Window::forget_worst() {
  for (std::deque<double>* values : {&high, &setup_ns})
    if (!values->empty()) values->erase(std::max_element(values->begin(), values->end()));
  level = std::max(quantile, level - kReaction);
  margin = summary();
}

Margin RequestMargins::Window::summary() const {
  Margin out;
  if (middle.size() >= kFewest) out.middle = median(middle);
  if (high.size() >= kFewest) out.high = conformal(high, level);
  if (setup_ns.size() < kFewest) return out;
  out.setup = rounded(median(setup_ns));
  out.setup_high = std::max(out.setup, rounded(conformal(setup_ns, level)));
  return out;
}

bool RequestMargins::Window::enough_for(double q) const {
  const auto n = static_cast<double>(high.size());
  return q == 0.5 ? middle.size() >= kFewest : quantile == q && std::ceil(q * (n + 1)) <= n;
}

Margin RequestMargins::margin(const RequestKind& kind, double quantile) const {
  auto found = windows_.end();
  for (const RequestKind& next : {kind, RequestKind{kAll, kind.first}, RequestKind{kAll, false}}) {
    found = windows_.find(next);
    if (found != windows_.end() && found->second.enough_for(quantile)) break;
  }
  if (found == windows_.end()) return {};
  Margin out = found->second.margin;
  if (quantile == 0.5) {
    out.high = out.middle;
    out.setup_high = out.setup;
  } else if (found->second.quantile != quantile) {
    out.high = 1;
  }
  return out;
}

bool RequestMargins::observe(const RequestKind& kind, const RequestTiming& t) {
  if (t.measured.ns <= 0 || t.expected.ns <= 0 || t.planned.ns <= 0 || t.setup.ns < 0) return false;
  windows_[kind].add(t);
  if (kind.policy != kAll) windows_[{kAll, kind.first}].add(t);
  return true;
}

void RequestMargins::doubt(const RequestKind& kind) {
  for (const RequestKind& next : {kind, RequestKind{kAll, kind.first}, RequestKind{kAll, false}})
    if (const auto found = windows_.find(next); found != windows_.end()) found->second.forget_worst();
}

std::vector<RequestWindow> RequestMargins::save() const {
  std::vector<RequestWindow> out;
  for (const auto& [kind, w] : windows_)
    out.push_back({kind,
                   w.quantile,
                   {w.middle.begin(), w.middle.end()},
                   {w.high.begin(), w.high.end()},
                   {w.setup_ns.begin(), w.setup_ns.end()}});
  return out;
}

void RequestMargins::restore(const std::vector<RequestWindow>& windows) {
  windows_.clear();
  for (const RequestWindow& from : windows) {
    Window w;
    w.quantile = w.level = from.quantile;
    for (const double v : from.middle) push(w.middle, v);
    for (const double v : from.high) push(w.high, v);
    for (const double v : from.setup_ns) push(w.setup_ns, v);
    if (!(w.quantile >= 0.5 && w.quantile < 1) || !believable(w.middle, 1 / kWildest, kWildest) ||
        !believable(w.high, 1 / kWildest, kWildest) || !believable(w.setup_ns, 0, kLongestSetup))
      continue;
    w.margin = w.summary();
    windows_[from.kind] = std::move(w);
  }
}

MarginCosts::MarginCosts(const CostOracle& costs, const Margin& margin, double quantile)
    : costs_(costs), margin_(margin), quantile_(quantile) {
  Estimate unit;
  unit.p95 = {1'000'000'000};
  reach_ = static_cast<double>(unit.at(quantile).ns) / 1e9;
}

Estimate MarginCosts::estimate(const CostKey& key) const {
  Estimate e = costs_.estimate(key);
  Duration at = times(e.at(quantile_), margin_.high);
  e.mean = times(e.mean, margin_.middle);
  e.variance_ns2 *= margin_.middle * margin_.middle;
  if (key.op == Op::kLoadRows) {
    e.mean += margin_.setup;
    at += margin_.setup_high;
  }
  // The tail for which at(quantile) is what it shall be.
  at = std::max(at, e.mean);
  e.p95 = reach_ > 0 ? e.mean + times(at - e.mean, 1 / reach_) : std::max(e.p95, e.mean);
  return e;
}

}  // namespace tessera
