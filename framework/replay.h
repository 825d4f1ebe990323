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

// How far a run has come, in a state that the graph allows: tasks in id order by lane, reservations in id order by memory.
struct RunProgress {
  Duration now;                      // since the run began, like all times here
  std::vector<Duration> start, end;  // by id; kForever: not yet
};

// The rest of a run: what has ended keeps its times, what runs ends `planned` after its start, but not before `now`; the
// rest as in replay(). Peaks are those from now on. Whether the rest can end at all does not depend on any time:
// reservations are granted in a fixed order, and nothing that happens takes back what could be granted before.
Result<Timeline> replay_rest(const TaskGraph& graph, const std::vector<Bytes>& capacity, const std::vector<Bytes>& held,
                             const RunProgress& progress);

}  // namespace tessera
