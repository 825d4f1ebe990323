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

// A device for as long as the executor lives. In a run it belongs to whoever holds its lane.
struct WallDevice {
  DeviceBinding binding;
  std::unique_ptr<InFlight> work = std::make_unique<InFlight>();
  std::vector<Abandoned> abandoned;
};

// One run. Several threads call help(), the executor's caller among them; then take_report.
//
// A lane belongs to one thread at a time, but to no thread for good: who can go no further in one lane lets it go and takes
// any free lane whose head can start. So work is handed between lanes without waking anybody, and a thread that the machine
// does not schedule holds nothing up but the task that it is in.
//
// A lane ends its tasks in id order, so "task p has ended" is `ended > p` of p's lane: no counter per task is shared. Who
// finds nothing to do spins for a moment, then sleeps. No wake-up is lost: a sleeper first says which task it waits for
// (`wake_at`), then looks once more; whoever ends a task first says so, then looks at `wake_at`; all four are sequentially
// consistent.
class WallRun final : public RunControl {
 public:
  WallRun(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits, std::vector<WallDevice>& devices);
  // Runs tasks, beginning with lane `first`. The caller's thread returns when all lanes have ended, others when there are
  // fewer lanes left than threads.
  void help(DeviceId first, bool is_caller);
  RunReport take_report();
  bool revise(std::span<const TaskId> tasks, const std::function<void()>& edit) override;
  void set_capacity(MemoryId memory, Bytes capacity) override;
  Duration now() const override { return since_start(); }

 private:
  struct alignas(64) Lane {
    std::atomic<TaskId> ended{0};          // the last ended task + 1
    std::atomic<TaskId> wake_at{kNoTask};  // somebody sleeps until this task of the lane has ended; set under mutex_
    std::atomic<bool> held{false};
    std::atomic<uint32_t> next{0};       // head: position in `order`
    std::atomic<uint32_t> refused{~0u};  // ledger_changes_ when the head's reservation was last refused
    std::atomic<bool> lost{false};       // the device takes no further task
    std::span<const TaskId> order;       // constant
    // The holder's own:
    WallDevice* device = nullptr;
    TaskTiming* timings = nullptr;  // by position: lanes share no cache line
    Duration now;                   // the last reading of the clock
    bool fresh = false;             // `now` still holds: nothing ran since
  };
  struct Outcome {
    TaskState state = TaskState::kDone;
    Error error;
    bool overdue = false;
    bool unbound = false;
  };

  // What can go (any thread).
  // Null at the end. Of a lane that another thread holds, it may be out of date.
  const Task* head(const Lane& lane) const {
    const uint32_t next = lane.next.load(std::memory_order_relaxed);
    return next < lane.order.size() ? &graph_.task(lane.order[next]) : nullptr;
  }
  bool predecessors_ended(TaskId id) const;
  bool may_go(const Lane& lane) const;
  bool can_go(const Lane& lane, const Task& task) const;  // under mutex_
  bool cancel_requested() const { return limits_.cancel != nullptr && limits_.cancel->load(std::memory_order_relaxed); }

  // Moving between lanes.
  bool try_lane(Lane& lane, bool& owe);
  bool step(Lane& lane, bool& owe);
  bool may_start(Lane& lane, const Task& task, bool& cancelled);
  void publish(Lane& lane, const Task& task, bool& owe);
  void let_go(Lane& lane, bool& owe);
  bool any_may_go() const;
  bool rest(bool is_caller);
  bool sleep(bool is_caller);
  bool register_free_lanes();  // under mutex_
  void ledger_changed();       // under mutex_
  void declare_stuck();        // under mutex_
  void stop(const Error& reason);
  void fail(const TaskFault& fault);

  // Running one task (the lane's holder).
  void execute(Lane& lane, const Task& task);
  Outcome perform(Lane& lane, const Task& task, Duration started);
  Outcome await_ticket(Lane& lane, Ticket ticket, const Task& task, Duration started);
  Outcome give_up(Lane& lane, Ticket ticket, const Task& task, Duration limit);
  void skip(Lane& lane, const Task& task);
  void record(Lane& lane, const TaskTiming& t) { lane.timings[lane.next.load(std::memory_order_relaxed)] = t; }
  Duration since_start() const { return clock_.now() - began_; }

  const TaskGraph& graph_;
  TaskBinder* const binder_;
  const RunLimits& limits_;
  const WallClock& clock_ = WallClock::instance();
  const Duration began_ = clock_.now();
  const size_t lane_count_;
  std::unique_ptr<Lane[]> lanes_;                   // by device
  std::unique_ptr<std::atomic<uint8_t>[]> doomed_;  // by task: a predecessor failed or was cancelled
  std::vector<TaskTiming> timings_;                 // lane after lane
  std::atomic<bool> stopped_{false};                // what has not started is cancelled
  std::atomic<int> lanes_left_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<uint32_t> ledger_changes_{0};

  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  MemoryLedger ledger_;
  int threads_ = 0;  // in help()
  Status first_error_;
  std::vector<TaskFault> faults_;
  std::vector<bool> begun_;  // by task: started or cancelled; empty where nobody watches
};

}  // namespace tessera
