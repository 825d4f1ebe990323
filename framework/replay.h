// Predicts, by recurrence, when each task of a graph starts and ends: the executor's rules without an executor.
#pragma once

#include <vector>

#include "framework/result.h"
#include "framework/task_graph.h"

namespace tessera {

struct Timeline {
  std::vector<Duration> start, end;  // by id, since arrival
  Duration makespan;
  std::vector<Bytes> peak;  // per memory, `held` included
};

// O((tasks + edges) * devices). kInfeasible where a reservation can never be granted: names the task, what it needs and
// what is free. Exact: the executor under the virtual clock reaches these very times (tests/framework/replay_test.cc).
Result<Timeline> replay(const TaskGraph& graph, const std::vector<Bytes>& capacity, const std::vector<Bytes>& held);

}  // namespace tessera
