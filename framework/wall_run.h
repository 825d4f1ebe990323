// Holds the state of one run under the wall clock: what each lane has ended, who sleeps, and who holds which bytes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "framework/clock.h"
#include "framework/executor.h"
#include "framework/memory_ledger.h"

namespace tessera {

// What a device works on. Lives on the heap: where a device never ends a task, this outlives the run.
struct InFlight {
  Task task;
  Operands operands;
};

// A task that its device did not end. It is asked again before each later run.
struct Abandoned {
  Ticket ticket = kDone;
  std::unique_ptr<InFlight> work;
};

// One device's part of a run; owned by the executor, used by the one thread that runs the lane.
struct WallLane {
  DeviceBinding binding;
  std::unique_ptr<InFlight> work = std::make_unique<InFlight>();
  std::vector<Abandoned> abandoned;
};

// One run. run_lane is called once for each non-empty lane, each call on a thread of its own; then take_report.
//
// A lane ends its tasks in id order, so "task p has ended" is `ended[device of p] > p`: no counter per task is shared. A
// lane that must wait spins for a moment, then sleeps. No wake-up is lost: a sleeper first counts itself, then looks once
// more; whoever ends a task first says so, then looks for sleepers; all four are sequentially consistent.
class WallRun {
 public:
  WallRun(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits, std::vector<WallLane>& lanes);
  void run_lane(DeviceId device);
  RunReport take_report();

 private:
  struct alignas(64) Progress {
    std::atomic<TaskId> ended{0};  // the last ended task + 1
  };
  struct Outcome {
    TaskState state = TaskState::kDone;
    Error error;
  };
  // The lane's own view; not shared.
  struct Here {
    WallLane& lane;
    DeviceId device;
    bool lost = false;
    Duration now;        // the last reading of the clock
    bool fresh = false;  // `now` still holds: nothing ran since
  };

  Duration since_start() const { return clock_.now() - began_; }
  bool predecessors_ended(TaskId id) const;
  bool cancel_requested() const { return limits_.cancel != nullptr && limits_.cancel->load(std::memory_order_relaxed); }

  void await_predecessors(Here& here, TaskId id);
  bool await_grant(Here& here, const Task& task);
  void sleep(DeviceId device, TaskId id);
  bool can_go(TaskId id) const;    // under mutex_
  void declare_stuck_if_so();      // under mutex_
  void stop(const Error& reason);  // under mutex_
  void fail(TaskId id, const Error& error);

  void execute(Here& here, const Task& task);
  Outcome perform(Here& here, const Task& task, Duration started);
  Outcome await_ticket(Here& here, Ticket ticket, const Task& task, Duration started);
  Outcome give_up(Here& here, Ticket ticket, const Task& task, Duration limit);
  void skip(Here& here, const Task& task);
  void record(const Here& here, const TaskTiming& timing) { timings_[cursor_[here.device]++] = timing; }

  const TaskGraph& graph_;
  TaskBinder* const binder_;
  const RunLimits& limits_;
  std::vector<WallLane>& lanes_;
  const WallClock& clock_ = WallClock::instance();
  const Duration began_ = clock_.now();
  std::unique_ptr<Progress[]> progress_;            // by device
  std::unique_ptr<std::atomic<uint8_t>[]> doomed_;  // by task: a predecessor failed or was cancelled
  std::vector<TaskTiming> timings_;                 // lane after lane, so that lanes share no cache line
  std::vector<uint32_t> cursor_;                    // by device: next entry of timings_
  std::atomic<bool> stopped_{false};                // what has not started is cancelled
  std::atomic<int> sleepers_{0};
  std::atomic<uint32_t> ledger_changes_{0};

  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  MemoryLedger ledger_;
  std::vector<TaskId> sleeping_on_;  // by device; kNoTask: awake
  int running_lanes_ = 0;
  Status first_error_;
};

}  // namespace tessera
