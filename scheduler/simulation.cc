// Makes dynamics of what was measured and learned.
#include "scheduler/simulation.h"

#include <algorithm>
#include <map>

#include "framework/cost_model_learned.h"

namespace tessera {
namespace {

constexpr int kApart = 1 << 20;        // kinds of a model of several parts (calibrate_models.cc) start anew here
constexpr double kMostContention = 4;  // a factor beyond it was no contention, but an interruption

double fair_factor(double factor) { return std::clamp(factor, 1.0, kMostContention); }

// Ratios seen of each op, each over its window's median (which the cost model's mean has in it already); and what that
// median was.
struct Seen {
  std::vector<double> ratios;
  double over_alone = 1;  // the median: of requests over alone
  int64_t samples = 0;
};

std::map<Op, Seen> seen_by(const CostModel& model) {
  std::map<Op, Seen> by_op;
  for (LearnedWindow window : model.learned()) {
    Seen& seen = by_op[LearnedRatios::op_of(window.kind % kApart)];
    // The first of a window stand in for what was not seen.
    const auto stand_ins = static_cast<int64_t>(window.ratios.size()) - window.samples;
    std::vector<double> all = window.ratios;
    const double median = median_of(all);
    if (stand_ins > 0) window.ratios.erase(window.ratios.begin(), window.ratios.begin() + stand_ins);
    if (median <= 0) continue;
    for (const double ratio : window.ratios) seen.ratios.push_back(ratio / median);
    if (window.samples > seen.samples) seen.over_alone = median;
    seen.samples = std::max(seen.samples, window.samples);
  }
  return by_op;
}

// The share of a task's contention that its cost model's mean has in it, as a factor.
double counted(double over_alone, double factor) { return std::clamp(over_alone, 1.0, factor); }

bool of_layer(Op op) { return op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart; }

void add_jitter(const CostModel& model, double factor, bool layers_only, DeviceDynamics& out) {
  for (auto& [op, seen] : seen_by(model)) {
    const double base = layers_only && !of_layer(op) ? 1 : counted(seen.over_alone, factor);
    for (double& ratio : seen.ratios) ratio /= base;
    out.jitter[static_cast<size_t>(op)] = quantiles_of(seen.ratios, static_cast<double>(kPpm));
  }
}

int64_t ppm(double factor) { return static_cast<int64_t>(factor * static_cast<double>(kPpm) + 0.5); }

// Of requests of any policy; of those that were not the first where none was.
RequestJitter jitter_of(const std::vector<RequestWindow>& windows, bool first) {
  const RequestWindow* best = nullptr;
  for (const RequestWindow& window : windows)
    if (window.kind.policy.empty() && !window.middle.empty() && (best == nullptr || window.kind.first == first))
      best = &window;
  if (best == nullptr) return {};
  return {quantiles_of(best->middle, static_cast<double>(kPpm)), quantiles_of(best->setup_ns, 1)};
}

}  // namespace

Dynamics calibrated_dynamics(const Machine& machine, const Calibration& calibration) {
  Dynamics out;
  const std::vector<DeviceDescription>& devices = machine.platform.devices;
  out.devices.resize(devices.size());
  const std::optional<DeviceId> disk = machine.platform.first(DeviceKind::kStorage);
  double load = 1;  // the worst that computing does to loads
  for (size_t d = 0; d < std::min(devices.size(), calibration.devices.size()); ++d) {
    const std::optional<Contention>& found = calibration.devices[d].contention;
    const auto id = static_cast<DeviceId>(d);
    double factor = 1;
    if (found && disk) {
      const double plain = fair_factor(found->compute), coded = fair_factor(found->decode), read = fair_factor(found->load);
      out.contention.push_back({id, *disk, ppm(plain), ppm(coded)});
      out.contention.push_back({*disk, id, ppm(read), ppm(read)});
      factor = std::max(plain, coded);
      load = std::max(load, read);
    }
    if (const CostModel* model = machine.costs->model(id); model != nullptr && computes(devices[d].kind))
      add_jitter(*model, factor, true, out.devices[d]);
  }
  for (size_t d = 0; d < devices.size(); ++d)
    if (const CostModel* model = machine.costs->model(static_cast<DeviceId>(d));
        model != nullptr && !computes(devices[d].kind))
      add_jitter(*model, devices[d].kind == DeviceKind::kStorage ? load : 1, false, out.devices[d]);
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
