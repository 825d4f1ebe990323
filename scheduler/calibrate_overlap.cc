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
constexpr int kWarmUp = 2, kRounds = 4;  // the first ones settle buffers, residents and the plan
constexpr double kOverlapped = 0.5;      // of a layer's time, beside a load
constexpr double kWildest = 30;          // a task that took longer was interrupted by something else
constexpr int kFewest = 4;               // tasks

// Of tasks, what they took and what was measured of such. Sums, not medians: most tasks go on as if alone, and some wait for
// a core for milliseconds, which is what makes pipelines longer.
struct Sum {
  double took = 0, measured = 0;  // seconds
  int tasks = 0;
  double ratio(double otherwise) const { return tasks < kFewest ? otherwise : took / measured; }
};
// [0] exact weights beside the other kind, [1] coded ones, [2] alone.
constexpr int kAlone = 2;
struct Sums {
  Sum loads[3], layers[3];
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
  Duration begun = kForever;  // the first layer
  for (const Task& task : graph.tasks())
    if (is_layer(task)) begun = std::min(begun, answer.report.tasks[task.id].start);
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
    // A load is slowed from the first layer on, whether or not one runs: threads spin for a while.
    const bool beside_it = is_load(task) ? timing.start >= begun : most->second.seconds() >= kOverlapped * took.seconds();
    const bool alone_there = is_load(task) ? timing.end <= begun : most->second == Duration{};
    if (!(beside_it || alone_there) || expected.ns <= 0) continue;
    Sums& sums = found[is_load(task) ? most->first : task.cost.device];
    Sum& sum = (is_load(task) ? sums.loads : sums.layers)[alone_there ? kAlone : coded(task)];
    sum.took += std::min(took.seconds(), kWildest * expected.seconds());
    sum.measured += expected.seconds();
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
      for (int round = 0; round < kWarmUp + kRounds; ++round) {
        const auto planned = (*session)->plan(options, static_cast<int>(ids.size()));
        const bool late = WallClock::instance().now() - start > budget;
        if (late || !planned.ok() || (*planned)->infeasible || (*planned)->plan.predicted.expected > budget) return found;
        const auto answer = (*session)->run(options, ids, std::vector<int32_t>(ids.size(), 0));
        if (!answer.ok() || !answer->taken_over.empty()) return found;
        if (round >= kWarmUp) collect(*answer, alone, found);
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
    o.load_alone = sums.loads[kAlone].ratio(1), o.layer_alone = sums.layers[kAlone].ratio(1);
    const auto beyond = [](const Sum& sum, double by) { return std::max(1.0, sum.ratio(by) / by); };
    o.load_exact = beyond(sums.loads[0], o.load_alone), o.load_coded = beyond(sums.loads[1], o.load_alone);
    o.layer_exact = beyond(sums.layers[0], o.layer_alone), o.layer_coded = beyond(sums.layers[1], o.layer_alone);
    for (const Sum& sum : sums.loads) o.samples += sum.tasks;
    for (const Sum& sum : sums.layers) o.samples += sum.tasks;
  }
  machine.costs->restore_requests(requests);
  for (size_t d = 0; d < alone.size(); ++d)
    if (CostModel* model = machine.costs->model(static_cast<DeviceId>(d)); model != nullptr) model->restore(learned[d]);
  return out;
}

}  // namespace tessera::calibration
