// Executes a task graph: one executor for real devices under the wall clock and simulated ones under the virtual clock.
//
//   graph ─► lane of disk0:  load ─► load ─► load ...        each device runs its tasks strictly in id order (plan order);
//            lane of cpu0:   embed ─► layer ─► layer ...     a task starts when it heads its lane, its predecessors have
//                                                            ended, and its reservation is granted (in id order per memory)
//
// Node states: kWaiting -> kRunning -> kDone | kFailed; kWaiting -> kCancelled.
//   a task fails (bind, submit or wait): it is kFailed; all that depend on it, however indirectly, become kCancelled; tasks
//     that do not depend on it run on; run() returns the first error, which names the task
//   cancel requested: what has not started becomes kCancelled; what runs is cancelled at its backend and waited for
//   no task runs and none can start: an error that names the first stuck task and what it waits for; nothing hangs
//   a task runs longer than its limit: it is cancelled at its backend and waited for once more (for the floor again); if it
//     does not end, kDevice, and the device takes no further task in this run, nor in later ones until the ticket has ended
// In every case each task that was bound gets ended() exactly once, and every reservation is returned: those of cancelled
// tasks once all their predecessors have ended. One exception: a device that never ended a task may still use its operands,
// so that task is ended() as kRunning, and its bytes stay accounted to the end of the run.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "framework/backend.h"
#include "framework/clock.h"
#include "framework/run_watch.h"
#include "framework/simulated_machine.h"
#include "framework/task_graph.h"

namespace tessera {

// Gives tasks their operands. Calls come from the lanes' threads, two tasks of one device never at once.
class TaskBinder {
 public:
  virtual ~TaskBinder() = default;
  // Right before submit, after the reservation was granted: buffers are created here.
  virtual Result<Operands> bind(const Task& task) = 0;
  // Once for every task for which bind was called (even where bind failed), before its successors start. kRunning: given up,
  // the device may still read and write what bind returned, which must stay alive and unused for the life of the process.
  virtual void ended(const Task& task, TaskState state) = 0;
};

struct TaskTiming {
  Duration start;  // since run() began
  Duration end;
  TaskState state = TaskState::kWaiting;
};

// A task that failed, and how.
struct TaskFault {
  TaskId task = kNoTask;
  Error error;
  bool overdue = false;   // it was stopped because it took too long
  bool given_up = false;  // and its device never ended it
  bool unbound = false;   // it never came to its device: there were no operands for it
};

struct RunReport {
  Status status;                  // the first error
  std::vector<TaskFault> faults;  // in the order in which they were seen; empty where the run was cancelled or got stuck
  std::vector<TaskTiming> tasks;  // by id
  Duration makespan;              // the last end
  std::vector<Bytes> peak;        // per memory: most reserved at once, `held` included
};

// Which backend drives each device of the platform, in the platform's order.
struct DeviceBinding {
  Backend* backend = nullptr;  // not owned
  int device = 0;              // the backend's own index
};

struct RunLimits {
  std::vector<Bytes> capacity;                // per memory; a missing entry is unlimited
  std::vector<Bytes> held;                    // per memory: already taken by what outlives the run
  const std::atomic<bool>* cancel = nullptr;  // looked at before each task starts, and every 2 ms while one runs
  // A running task is given up at max(10 x p95, p95 + floor); kForever: never.
  Duration overdue_floor = milliseconds(5000);
  // The same for what is no load, by device, where another could take over; the lesser of both counts. Missing: kForever.
  std::vector<Duration> suspect_floor;
  // A failure cancels all that has not started, not only what depends on it.
  bool stop_on_failure = false;
  RunWatch* watch = nullptr;  // not owned; may rewrite what has not started (framework/run_watch.h)
  RunMoment moment;           // of a run on a simulated machine
};

// One thread per device beyond the caller's lives as long as the executor; any of them may run any lane, one lane at a time
// each, so a device sees changing threads but never two at once. run() is not reentrant. Destroyed before its backends.
class Executor {
 public:
  virtual ~Executor() = default;
  // With an empty binder (nullptr) tasks are submitted with empty operands: for benchmarks and simulations.
  virtual RunReport run(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits) = 0;
  // Whether the device still has not ended a task of an earlier run; asks it.
  virtual bool busy(DeviceId /*device*/) { return false; }
};

std::unique_ptr<Executor> make_wall_executor(std::vector<DeviceBinding> devices);

// Under the virtual clock every device is simulated: a task lasts task.planned, or what `duration` says.
// Single-threaded and exact: equal inputs give equal reports on every machine.
class SimulatedTime {
 public:
  virtual ~SimulatedTime() = default;
  virtual Result<Duration> duration(const Task& task) = 0;  // an error: the task fails
};
// `time` null: task.planned. With a machine, not owned, that is how long tasks would last alone at full speed.
std::unique_ptr<Executor> make_virtual_executor(SimulatedTime* time, SimulatedMachine* machine = nullptr);

}  // namespace tessera
