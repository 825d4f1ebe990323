// Lets one watcher see a run as it goes, and rewrite what has not started: for re-planning in flight.
//
// Calls of one run: began, then started and ended of tasks (and alarms), then finished. A run that is refused before its
// first task calls nothing.
#pragma once

#include <functional>
#include <span>

#include "framework/task_graph.h"
#include "framework/units.h"

namespace tessera {

struct TaskTiming;  // framework/executor.h

// What a run lets its watch do. From any thread, from began() until finished() has returned; not from started().
class RunControl {
 public:
  virtual ~RunControl() = default;
  // Calls `edit`, which rewrites `tasks` in the graph that runs (TaskGraph::revise) and what their binder reads, while no
  // task can start. False, and `edit` was not called: one of them has started or was cancelled, or something has failed.
  // A reservation may shrink to nothing; a task that is made `empty` is passed over: it is not bound, and takes no time.
  virtual bool revise(std::span<const TaskId> tasks, const std::function<void()>& edit) = 0;
  // From now on reservations in this memory are granted up to so many bytes. What was granted stays.
  virtual void set_capacity(MemoryId memory, Bytes capacity) = 0;
  // Since run() began.
  virtual Duration now() const = 0;
};

// One run's. Times are since run() began.
class RunWatch {
 public:
  virtual ~RunWatch() = default;
  virtual void began(RunControl& control) = 0;
  // Under the executor's lock, before the task is bound: must be short, and not use the control.
  virtual void started(const Task& task, Duration now) = 0;
  // On the lane's thread (several lanes at once), after its successors may start and before its lane starts anything.
  virtual void ended(const Task& task, const TaskTiming& timing) = 0;
  // The control is invalid after it.
  virtual void finished() = 0;
  // In virtual time: when the watch wants to be called next; at that instant, after all that ends there. Under the wall
  // clock nobody asks: a watch looks at the clock when something ends.
  virtual Duration next_alarm() { return kForever; }
  virtual void alarm(Duration /*now*/) {}
};

}  // namespace tessera
