// Opens several described models on one described machine, under a policy whose plans are known by construction.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/sequence.h"
#include "session_rig.h"

namespace tessera::testing {

// Plans `depth` x `width` of exact weights, keeps from the bottom up what the preload budget allows, and says what it would
// need where it has less. Its nearest memory is what the plan takes where memory is not limited: with any less a load has to
// wait, and loading is what takes the time.
inline void script_caching(int depth, int width) {
  Script::now().decide = [=](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, std::min(depth, view.shape.layers), width, kExact, view.residency);
    int64_t kept = 0;
    for (int16_t l = 0; l < plan.depth; ++l)
      for (int16_t j = 0; j < width; ++j)
        if ((kept += view.shape.bytes_of({l, j}, kExact).n) <= view.budgets.preload.n) plan.keep.push_back({l, j});
    TESSERA_ASSIGN(const Prediction free, view.replay.replay_if(plan, kUnlimited, view.residency));
    Infeasible no;
    no.both_latency = free.latency;
    no.both_memory = free.peak;
    no.why = "needs " + to_string(free.latency) + " and " + to_string(free.peak);
    if (free.latency > view.budgets.latency && !view.best_effort) {
      no.latency = free.latency;
      return Decision{no};
    }
    no.memory = free.peak;
    const auto here = view.replay.replay(plan);
    if (!here.ok() || (here->latency > view.budgets.latency && !view.best_effort)) return Decision{no};
    return Decision{plan};
  };
  Script::now().preload = [=](const PlanningView& view) -> Result<Residency> {
    Residency wanted;
    int64_t kept = 0;
    for (int16_t l = 0; l < std::min(depth, view.shape.layers); ++l)
      for (int16_t j = 0; j < width; ++j)
        if ((kept += view.shape.bytes_of({l, j}, kExact).n) <= view.budgets.preload.n)
          wanted.shards.push_back({{l, j}, kExact, false, {}});
    return wanted;
  };
}

inline Arrivals at(std::vector<Duration> times) {
  Arrivals arrivals;
  arrivals.kind = Arrivals::Kind::kRecorded;
  arrivals.requests = static_cast<int>(times.size());
  arrivals.times = std::move(times);
  return arrivals;
}

struct SequenceRig {
  explicit SequenceRig(int apps = 1, int layers = 4, int slices = 4) {
    register_all();
    machine.platform = plain_platform();
    machine.virtual_time = true;
    machine.costs = std::make_shared<CostBook>();
    for (DeviceId d = 0; d < 2; ++d)
      machine.costs->set_guess(d, [costs = PlainCosts()](const CostKey& key) { return costs.estimate(key); });
    workload.name = "test";
    workload.latency_grid = microseconds(10);
    shapes.resize(static_cast<size_t>(apps), plain_shape(layers, slices));
    accuracies.resize(shapes.size());
    workload.apps.resize(shapes.size());
    for (size_t a = 0; a < shapes.size(); ++a) {
      accuracies[a] = random_importance(shapes[a], a);
      sessions.push_back(Session::open(shapes[a], nullptr, accuracies[a], machine, {}).take());
      workload.apps[a].name = "app" + std::to_string(a);
      workload.apps[a].preloaded = false;
      models.push_back({sessions[a].get(), scripted(), {8}});
    }
  }
  SequenceReport run() {
    auto report = run_sequence(workload, models, options);
    if (!report.ok()) ADD_FAILURE() << report.error().message;
    return report.ok() ? report.take() : SequenceReport();
  }
  std::vector<ModelShape> shapes;
  std::vector<AccuracyModel> accuracies;
  Machine machine;
  std::vector<std::unique_ptr<Session>> sessions;
  Workload workload;
  std::vector<SequenceModel> models;
  SequenceOptions options;
};

}  // namespace tessera::testing
