// Measures computes: embed, layers, parts of layers and exit through the backend, on the store's weights.
#include <algorithm>
#include <cmath>
#include <map>

#include "framework/clock.h"
#include "scheduler/calibrate_probe.h"

namespace tessera::calibration {
namespace {

constexpr int kLeastRounds = 3, kMostRounds = 9;
constexpr int kDriftPoints = 4, kDriftRounds = 7;

struct Point {
  CostKey key;
  std::vector<double> host, device;  // seconds
};

// Points that share their weights.
std::vector<std::vector<Point>> groups_of(const std::vector<CostKey>& keys) {
  std::map<int, std::vector<Point>> by_pool;
  for (const CostKey& key : keys) by_pool[ComputeProbe::pool_of(key)].push_back({key, {}, {}});
  std::vector<std::vector<Point>> groups;
  for (auto& [pool, points] : by_pool) groups.push_back(std::move(points));
  return groups;
}

Status measure(ComputeProbe& probe, Point& point) {
  TESSERA_ASSIGN(const Taken taken, probe.run(point.key));
  point.host.push_back(taken.host);
  if (taken.device) point.device.push_back(*taken.device);
  return {};
}

// Enough: the interval of the median is narrow, and as sure as intervals are asked to be.
bool settled(const Point& point) {
  constexpr size_t kLeast = 6;
  constexpr double kNarrow = 0.03;
  return point.host.size() >= kLeast && summarise(point.host).half_width <= kNarrow;
}

// Runs each point once in advance (page faults, threads, kernels that a driver compiles: not counted), and drops those that
// a slow device has no time for: what they cost is left to extrapolation. Points come by tokens, ascending.
Status warm_up(ComputeProbe& probe, std::vector<Point>& points, Duration budget) {
  constexpr double kSlow = 0.02;  // seconds; what took longer may have been a compiler
  double ahead = 0;
  size_t kept = 0;
  for (; kept < points.size() && (kept == 0 || ahead * kLeastRounds <= 2 * budget.seconds()); ++kept) {
    TESSERA_ASSIGN(Taken taken, probe.run(points[kept].key));
    if (taken.host > kSlow) { TESSERA_ASSIGN(taken, probe.run(points[kept].key)); }
    ahead += taken.host;
  }
  points.resize(kept);
  return {};
}

Status measure_group(ComputeProbe& probe, std::vector<Point>& points, Duration budget) {
  TESSERA_TRY(warm_up(probe, points, budget));
  const Duration start = WallClock::instance().now();
  for (int round = 1; round <= kMostRounds; ++round) {
    if (round > kLeastRounds && WallClock::instance().now() - start > budget) break;
    for (Point& point : points)
      if (!settled(point)) TESSERA_TRY(measure(probe, point));
  }
  return {};
}

// What a device's lane pays beside the device's own time (submitting, waking up), over all points; 0 without own times.
double overhead_of(const std::vector<Point>& points) {
  std::vector<double> beside;
  for (const Point& point : points)
    for (size_t i = 0; i < point.host.size() && point.device.size() == point.host.size(); ++i)
      beside.push_back(point.host[i] - point.device[i]);
  return median(std::move(beside));
}

// Where the device tells its own time of each repetition, that and the usual overhead: the host's clock also counts when
// this thread was not woken.
Summary summary_of(const Point& point, double overhead) {
  if (point.device.size() != point.host.size()) return summarise(point.host);
  std::vector<double> seconds = point.device;
  for (double& s : seconds) s += overhead;
  return summarise(std::move(seconds));
}

}  // namespace

Result<std::vector<ComputePoint>> measure_compute(const DeviceDescription& device, const DeviceBinding& binding,
                                                  const Store& store, const std::vector<CostKey>& keys, Duration budget) {
  std::vector<ComputePoint> measured;
  if (keys.empty()) return measured;
  ComputeProbe probe(device, binding, store);
  TESSERA_TRY(probe.prepare(keys));
  for (std::vector<Point>& group : groups_of(keys)) {
    const auto share = static_cast<int64_t>(group.size());
    TESSERA_TRY(measure_group(probe, group, {budget.ns / static_cast<int64_t>(keys.size()) * share}));
    const double overhead = overhead_of(group);
    for (const Point& point : group) {
      ComputePoint figure{point.key, summary_of(point, overhead)};
      figure.taken.estimate.workspace = probe.workspace(point.key);
      measured.push_back(figure);
    }
  }
  return measured;
}

Result<double> drift_of_compute(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding,
                                const Store& store, const std::vector<ComputePoint>& points) {
  if (points.empty()) return 0.0;
  std::vector<CostKey> keys;
  std::vector<double> before;
  for (int i = 0; i < kDriftPoints; ++i) {  // spread over the grid
    const ComputePoint& point = points[points.size() * (2 * i + 1) / (2 * kDriftPoints)];
    keys.push_back(point.key);
    keys.back().device = id;
    before.push_back(point.taken.estimate.mean.seconds());
  }
  ComputeProbe probe(device, binding, store);
  TESSERA_TRY(probe.prepare(keys));
  std::vector<double> off;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::vector<Point> group{{keys[i], {}, {}}};
    for (int round = 0; round <= kDriftRounds; ++round) {
      TESSERA_TRY(measure(probe, group[0]));
      if (round == 0) group[0].host.clear(), group[0].device.clear();
    }
    const double now = summary_of(group[0], overhead_of(group)).estimate.mean.seconds();
    off.push_back(before[i] > 0 ? std::fabs(now / before[i] - 1) : 1);
  }
  return median(std::move(off));
}

}  // namespace tessera::calibration
