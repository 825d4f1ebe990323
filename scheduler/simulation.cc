// Makes dynamics of what was measured and learned.
#include "scheduler/simulation.h"

#include <algorithm>
#include <cmath>

#include "framework/cost_model_learned.h"
#include "scheduler/calibrate_parts.h"

namespace tessera {
namespace {

constexpr double kMostContention = 8;  // a factor beyond it was no contention, but an interruption

int64_t ppm(double factor) { return std::llround(std::clamp(factor, 1.0, kMostContention) * static_cast<double>(kPpm)); }

// Each window's ratios over its median, which the cost model's mean has in it already. That median is of tasks that ran
// beside others and of tasks that did not: where it is more than such tasks take alone in requests (`alone`; else by at most
// `factor`), the rest is contention, which the simulation adds where tasks overlap, and is taken out.
void add_jitter(const CostModel& model, double alone, double factor, DeviceDynamics& out) {
  for (LearnedWindow window : model.learned()) {
    std::vector<double> all = window.ratios;
    const double median = median_of(all);
    if (median <= 0) continue;
    // The first of a window stand in for what was not seen.
    const auto stand_ins = static_cast<int64_t>(window.ratios.size()) - window.samples;
    if (stand_ins > 0) window.ratios.erase(window.ratios.begin(), window.ratios.begin() + stand_ins);
    if (window.ratios.empty()) continue;
    const int kind = window.kind % calibration::kKindsApart;
    const Op op = LearnedRatios::op_of(kind);
    const bool known = alone > 0 && (op == Op::kLoadShards || op == Op::kLayer);
    const double over =
        known ? std::max(1.0, median / alone) : std::clamp(median, 1.0, std::clamp(factor, 1.0, kMostContention));
    for (double& ratio : window.ratios) ratio /= median * over;
    out.jitter_by_kind[kind] = quantiles_of(window.ratios, static_cast<double>(kPpm));
  }
}

// Of requests of any policy; of those that were not the first where none was.
RequestJitter jitter_of(const std::vector<RequestWindow>& windows, bool first) {
  const RequestWindow* best = nullptr;
  for (const RequestWindow& window : windows)
    if (window.kind.policy.empty() && !window.setup_ns.empty() && (best == nullptr || window.kind.first == first))
      best = &window;
  if (best == nullptr) return {};
  return {{}, quantiles_of(best->setup_ns, 1)};  // how requests differ is in the jitter of their tasks, which have one luck
}

// As requests showed it; where that was not measured, as loops of loads and layers did (alone: 0, unknown).
Overlap overlap_of(const CalibratedDevice& device) {
  if (device.overlap) return *device.overlap;
  Overlap o;
  o.load_alone = o.layer_alone = 0;
  if (device.contention) {
    o.load_exact = o.load_coded = device.contention->load;
    o.layer_exact = device.contention->compute;
    o.layer_coded = device.contention->decode;
  }
  return o;
}

}  // namespace

Dynamics calibrated_dynamics(const Machine& machine, const Calibration& calibration) {
  Dynamics out;
  const std::vector<DeviceDescription>& devices = machine.platform.devices;
  out.devices.resize(devices.size());
  const std::optional<DeviceId> disk = machine.platform.first(DeviceKind::kStorage);
  double load = 1, load_alone = 0;  // the worst that computing does to loads
  for (size_t d = 0; d < std::min(devices.size(), calibration.devices.size()); ++d) {
    if (!computes(devices[d].kind)) continue;
    const auto id = static_cast<DeviceId>(d);
    const Overlap o = overlap_of(calibration.devices[d]);
    if (disk) {
      out.contention.push_back({id, *disk, ppm(o.layer_exact), ppm(o.layer_coded)});
      out.contention.push_back({*disk, id, ppm(o.load_exact), ppm(o.load_coded), true});
    }
    load = std::max({load, o.load_exact, o.load_coded});
    load_alone = std::max(load_alone, o.load_alone);
    if (const CostModel* model = machine.costs->model(id))
      add_jitter(*model, o.layer_alone, std::max(o.layer_exact, o.layer_coded), out.devices[d]);
  }
  for (size_t d = 0; d < devices.size(); ++d)
    if (const CostModel* model = machine.costs->model(static_cast<DeviceId>(d)); model && !computes(devices[d].kind))
      add_jitter(*model, load_alone, devices[d].kind == DeviceKind::kStorage ? load : 1, out.devices[d]);
  const std::vector<RequestWindow> windows = machine.costs->requests().save();
  out.first = jitter_of(windows, true);
  out.later = jitter_of(windows, false);
  return out;
}

void simulate(Machine& machine, const Calibration& calibration, uint64_t seed) {
  if (machine.simulation == nullptr)
    machine.simulation = std::make_shared<SimulatedMachine>(calibrated_dynamics(machine, calibration),
                                                            static_cast<int>(machine.platform.devices.size()));
  machine.simulation->restart(seed);
}

}  // namespace tessera
