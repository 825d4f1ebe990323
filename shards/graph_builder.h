// Lowers a plan to the task graph that the executor runs: every load and every compute a node.
#pragma once

#include "framework/cost_model.h"
#include "framework/plan.h"
#include "framework/result.h"
#include "framework/task_graph.h"

namespace tessera {

// A graph and what its tasks mean to the binder.
struct LoweredPlan {
  TaskGraph graph;
  TaskId embed = kNoTask;
  TaskId exit = kNoTask;
  Bytes fixed;  // held for the whole request: activations, workspace of the largest task, row and exit blocks
                // where they are not reserved by a load
  Bytes io;     // bytes that the loads read
};

// `tokens` is T of the request (B = 1). Durations are `costs` at plan.quantile. The graph's tasks are in plan order:
// a layer's loads before its compute, loads in plan.loads' order. kInternal names what is illegal in the plan
// ("layer 2 slice 7: no load and not resident").
Result<LoweredPlan> lower(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform,
                          DeviceId storage, const CostOracle& costs, int tokens);

}  // namespace tessera
