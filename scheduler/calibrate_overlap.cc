// Measures what loads and computes do to each other within requests: from the timelines of a few, task by task against what
// it takes alone.
#include <algorithm>
#include <map>
#include <memory>

#include "framework/clock.h"
#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

constexpr int kTokens[] = {10, 24, 64};
constexpr int kRounds = 4;           // the first pays for page faults
constexpr double kOverlapped = 0.5;  // of a layer's time, beside a load
constexpr double kWildest = 30;      // a task that took longer was interrupted by something else
constexpr int kFewest = 4;

// Of tasks that ran beside the other kind, what they took, and what they take alone. Sums, not medians: most tasks go on as
// if alone, and some wait for a core for milliseconds, which is what makes pipelines longer.
struct Sum {
  double took = 0, alone = 0;  // seconds
  int tasks = 0;
  double factor(double otherwise) const { return tasks < kFewest ? otherwise : std::max(1.0, took / alone); }
};
// [0] exact weights, [1] coded ones.
struct Sums {
  Sum loads[2], layers[2];
};

Duration overlap(const TaskTiming& a, const TaskTiming& b) {
  return std::max(Duration{}, std::min(a.end, b.end) - std::max(a.start, b.start));
}

bool is_load(const Task& task) { return task.cost.op == Op::kLoadShards; }
bool is_layer(const Task& task) { return task.cost.op == Op::kLayer; }

// Whether coded weights are read or decoded.
bool coded(const Task& task) { return task.cost.bits[bits_level(kExact)] == 0 && task.bits != kExact; }

void collect(const Answer& answer, const AloneCosts& alone, std::map<DeviceId, Sums>& found) {
  const TaskGraph& graph = answer.executed->graph;
  Duration begun = kForever;  // the first compute
  for (const Task& task : graph.tasks())
    if (task.kind == TaskKind::kCompute) begun = std::min(begun, answer.report.tasks[task.id].start);
  for (const Task& task : graph.tasks()) {
    if (!is_load(task) && !is_layer(task)) continue;
    const TaskTiming& timing = answer.report.tasks[task.id];
    const CostModel* model = alone[task.cost.device].get();
    std::map<DeviceId, Duration> beside;
    for (const Task& other : graph.tasks())
      if (is_load(task) ? other.kind == TaskKind::kCompute : other.kind == TaskKind::kLoad)
        beside[other.cost.device] += overlap(timing, answer.report.tasks[other.id]);
    const auto most =
        std::max_element(beside.begin(), beside.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    const Duration took = timing.end - timing.start;
    if (model == nullptr || took.ns <= 0 || most == beside.end()) continue;
    const Duration expected = model->estimate(task.cost).mean;
    // A load is slowed from the first compute on, whether or not one runs: threads spin, buffers come back to be touched
    // anew.
    const bool beside_it = is_load(task) ? timing.start >= begun : most->second.seconds() >= kOverlapped * took.seconds();
    if (!beside_it || expected.ns <= 0) continue;
    Sums& sums = found[is_load(task) ? most->first : task.cost.device];
    Sum& sum = (is_load(task) ? sums.loads : sums.layers)[coded(task)];
    sum.took += std::min(took.seconds(), kWildest * expected.seconds());
    sum.alone += expected.seconds();
    ++sum.tasks;
  }
}

// At the lowest bitwidth, at the highest coded one, exact.
std::vector<Bits> some_bits(const ModelShape& shape) {
  std::vector<Bits> bits{shape.bitwidths.front(), shape.bitwidths.back()};
  if (shape.bitwidths.size() > 2) bits.push_back(shape.bitwidths[shape.bitwidths.size() - 2]);
  return bits;
}

std::map<DeviceId, Sums> run_requests(Machine& machine, const Store& store, const std::string& policy,
                                      const AloneCosts& alone, Duration budget) {
  const ModelShape& shape = store.shape();
  const AccuracyModel unknown = random_importance(shape, 1);
  std::map<DeviceId, Sums> found;
  const Duration start = WallClock::instance().now();
  for (const int tokens : kTokens)
    for (const Bits bits : some_bits(shape)) {
      const auto session = Session::open(shape, &store, unknown, machine, Bytes{});
      if (!session.ok()) return found;
      RequestOptions options;
      options.policy = policy;
      options.bits = bits;
      const std::vector<int32_t> ids(static_cast<size_t>(std::min(tokens, shape.max_tokens)), 1);
      for (int round = 0; round < kRounds; ++round) {
        const auto planned = (*session)->plan(options, static_cast<int>(ids.size()));
        const Duration left = start + budget - WallClock::instance().now();
        if (!planned.ok() || (*planned)->infeasible || (*planned)->plan.predicted.expected > left) return found;
        const auto answer = (*session)->run(options, ids, std::vector<int32_t>(ids.size(), 0));
        if (!answer.ok() || !answer->taken_over.empty()) return found;
        if (round > 0) collect(*answer, alone, found);
      }
    }
  return found;
}

}  // namespace

std::map<DeviceId, Overlap> measure_overlap(Machine& machine, const Store& store, const std::string& policy,
                                            const AloneCosts& alone, Duration budget) {
  std::map<DeviceId, Overlap> out;
  if (policies().find(policy) == nullptr || store.shape().bitwidths.empty()) return out;
  // What these requests teach is not like what users' requests teach.
  const std::vector<RequestWindow> requests = machine.costs->requests().save();
  std::vector<std::vector<LearnedWindow>> learned;
  for (size_t d = 0; d < alone.size(); ++d) {
    const CostModel* model = machine.costs->model(static_cast<DeviceId>(d));
    learned.push_back(model != nullptr ? model->learned() : std::vector<LearnedWindow>());
  }
  for (const auto& [device, sums] : run_requests(machine, store, policy, alone, budget)) {
    Overlap& o = out[device];
    o.load_coded = sums.loads[1].factor(1), o.load_exact = sums.loads[0].factor(o.load_coded);
    o.layer_coded = sums.layers[1].factor(1), o.layer_exact = sums.layers[0].factor(o.layer_coded);
    for (const int i : {0, 1}) o.samples += sums.loads[i].tasks + sums.layers[i].tasks;
  }
  machine.costs->restore_requests(requests);
  for (size_t d = 0; d < alone.size(); ++d)
    if (CostModel* model = machine.costs->model(static_cast<DeviceId>(d)); model != nullptr) model->restore(learned[d]);
  return out;
}

}  // namespace tessera::calibration
