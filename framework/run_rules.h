// Words and limits that both executors share, so that they fail alike.
#pragma once

#include <algorithm>
#include <string>

#include "framework/executor.h"
#include "framework/saturating.h"

namespace tessera {

// How long a task may run before it is given up.
inline Duration overdue_floor(const Task& task, const RunLimits& limits) {
  const bool suspect = task.kind != TaskKind::kLoad && task.cost.device < limits.suspect_floor.size();
  return suspect ? std::min(limits.overdue_floor, limits.suspect_floor[task.cost.device]) : limits.overdue_floor;
}
inline Duration overdue_limit(const Task& task, const RunLimits& limits) {
  const Duration floor = overdue_floor(task, limits);
  if (floor == kForever) return kForever;
  const Duration p95 = std::max(task.estimate.p95, task.planned);
  const Duration tenfold = p95 > Duration{kForever.ns / 10} ? kForever : p95 * 10;
  return std::max(tenfold, saturating_add(p95, floor));
}

// Puts the task's and its device's name before what went wrong.
inline Error task_error(const TaskGraph& graph, TaskId id, const Error& cause) {
  return {cause.code, "task " + std::to_string(id) + " '" + graph.name(id) + "' on device " +
                          std::to_string(graph.task(id).cost.device) + ": " + cause.message};
}

inline Error overdue_error(const TaskGraph& graph, TaskId id, Duration limit, const std::string& outcome) {
  const Task& task = graph.task(id);
  return task_error(graph, id,
                    {ErrorCode::kDevice, "still running after " + to_string(limit) + " (expected " +
                                             to_string(std::max(task.estimate.p95, task.planned)) + "); " + outcome});
}

inline Error no_progress_error(const TaskGraph& graph, TaskId id, const std::string& shortage) {
  return task_error(
      graph, id,
      {ErrorCode::kInfeasible, "no progress: " + shortage + ", and nothing runs that would free more; raise --memory"});
}

inline Error cancelled_error() { return {ErrorCode::kCancelled, "run cancelled on request"}; }

}  // namespace tessera
