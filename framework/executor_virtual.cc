// Executes graphs in virtual time: the wall executor's rules, event by event, on one thread.
#include <algorithm>
#include <utility>

#include "framework/executor.h"
#include "framework/memory_ledger.h"
#include "framework/run_rules.h"

namespace tessera {
namespace {

// One run. Time goes from instant to instant; at each, first everything that ends there ends, then everything that can start
// starts; what lasts no time ends in a further round of the same instant. So peaks do not depend on the order of ties.
class VirtualRun final : public RunControl {
 public:
  VirtualRun(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits, SimulatedTime* time,
             SimulatedMachine* machine)
      : graph_(graph),
        binder_(binder),
        limits_(limits),
        time_(time),
        machine_(machine),
        ledger_(graph, limits),
        lanes_(graph.device_count()) {
    doomed_.resize(graph.size());
    report_.tasks.resize(graph.size());
  }

  RunReport run() {
    if (machine_ != nullptr) machine_->begin(limits_.moment);
    if (limits_.watch != nullptr) limits_.watch->began(*this);
    while (unended_ > 0) {
      while (start_what_can()) {}
      if (!end_next() && unended_ > 0) declare_stuck();
      if (limits_.watch != nullptr) tell_watch();
    }
    if (limits_.watch != nullptr) limits_.watch->finished();
    report_.peak = ledger_.peaks();
    return std::move(report_);
  }

  bool revise(std::span<const TaskId> tasks, const std::function<void()>& edit) override {
    const auto waits = [this](TaskId id) { return report_.tasks[id].state == TaskState::kWaiting; };
    if (stopped_ || !report_.status.ok() || !std::all_of(tasks.begin(), tasks.end(), waits)) return false;
    edit();
    ledger_.revised();
    return true;
  }
  void set_capacity(MemoryId memory, Bytes capacity) override { ledger_.set_capacity(memory, capacity); }
  Duration now() const override { return now_; }

 private:
  struct Lane {
    size_t next = 0;   // head of the lane
    TaskId ended = 0;  // the last ended task + 1
    TaskId running = kNoTask;
    Duration end;  // known from the start; on a simulated machine once it is there
    Error error;   // that it will end with, where `fails`
    bool fails = false, overdue = false;
  };

  bool predecessors_ended(TaskId id) const {
    for (const TaskId before : graph_.joins(id))
      if (lanes_[graph_.task(before).cost.device].ended <= before) return false;
    return true;
  }

  bool start_what_can() {
    bool any = false;
    for (size_t d = 0; d < lanes_.size(); ++d)
      while (advance(lanes_[d], graph_.lane(static_cast<DeviceId>(d)))) any = true;
    return any;
  }

  // Starts or cancels the lane's head if that is possible now.
  bool advance(Lane& lane, std::span<const TaskId> order) {
    if (lane.running != kNoTask || lane.next == order.size()) return false;
    const Task& task = graph_.task(order[lane.next]);
    if (!predecessors_ended(task.id)) return false;
    if (!stopped_ && limits_.cancel != nullptr && limits_.cancel->load(std::memory_order_relaxed)) stop(cancelled_error());
    if (stopped_ || doomed_[task.id]) {
      ledger_.skip(task);
      settle(lane, task, {now_, now_, TaskState::kCancelled});
      return true;
    }
    if (!ledger_.grantable(task)) return false;
    ledger_.grant(task);
    if (limits_.watch != nullptr) limits_.watch->started(task, now_);
    start(lane, task);
    return true;
  }

  void start(Lane& lane, const Task& task) {
    lane.running = task.id;
    lane.end = now_;
    lane.fails = !task.empty;
    report_.tasks[task.id] = {now_, now_, TaskState::kRunning};
    if (task.empty) return;
    if (binder_ != nullptr) {
      const Result<Operands> operands = binder_->bind(task);
      if (!operands.ok()) return fail_at_once(lane, task, operands.error());
    }
    const Result<Duration> duration = time_ != nullptr ? time_->duration(task) : task.planned;
    if (!duration.ok()) return fail_at_once(lane, task, duration.error());
    const Duration limit = time_ != nullptr ? overdue_limit(task, limits_) : kForever;
    if (machine_ != nullptr) return start_on_machine(lane, task, *duration, limit);
    lane.fails = lane.overdue = *duration > limit;
    if (lane.fails) lane.error = overdue_error(graph_, task.id, limit, "cancelled");
    lane.end = saturating_add(now_, std::max(Duration{}, std::min(*duration, limit)));
  }

  void start_on_machine(Lane& lane, const Task& task, Duration nominal, Duration limit) {
    const Status started = machine_->start(task, nominal, saturating_add(now_, limit));
    if (!started.ok()) return fail_at_once(lane, task, started.error());
    lane.fails = false;
    lane.end = kForever;
  }

  // The next instant at which the machine ends a task, or `until`.
  Duration carry_on(Duration until) {
    const Duration at = machine_->advance(until);
    for (size_t d = 0; d < lanes_.size(); ++d) {
      Lane& lane = lanes_[d];
      if (lane.running == kNoTask) continue;
      const SimulatedMachine::Outcome outcome = machine_->collect(static_cast<DeviceId>(d));
      if (outcome == SimulatedMachine::Outcome::kRunning) continue;
      lane.end = at;
      lane.overdue = outcome == SimulatedMachine::Outcome::kOverdue;
      lane.fails = outcome != SimulatedMachine::Outcome::kEnded;
      const Duration ran = at - report_.tasks[lane.running].start;
      if (lane.overdue)
        lane.error = overdue_error(graph_, lane.running, ran, "cancelled");
      else if (lane.fails)
        lane.error = task_error(graph_, lane.running, machine_->why(static_cast<DeviceId>(d), outcome));
    }
    return at;
  }

  void fail_at_once(Lane& lane, const Task& task, const Error& cause) {
    lane.error = task_error(graph_, task.id, cause);
    end(lane);
  }

  // Moves to the next instant at which something ends. False where nothing runs.
  bool end_next() {
    bool any = false;
    Duration next = kForever;
    for (const Lane& lane : lanes_) {
      if (lane.running == kNoTask) continue;
      any = true;
      next = std::min(next, lane.end);
    }
    if (limits_.watch != nullptr) next = std::min(next, std::max(now_, limits_.watch->next_alarm()));
    if (any && machine_ != nullptr) next = carry_on(next);
    now_ = any ? next : now_;
    for (Lane& lane : lanes_)
      if (lane.running != kNoTask && lane.end == now_) end(lane);
    return any;
  }

  void end(Lane& lane) {
    const Task& task = graph_.task(lane.running);
    const TaskState state = lane.fails ? TaskState::kFailed : TaskState::kDone;
    if (lane.fails) {
      if (report_.status.ok()) report_.status = lane.error;
      report_.faults.push_back({task.id, lane.error, lane.overdue});
      stopped_ = stopped_ || limits_.stop_on_failure;
    }
    lane.running = kNoTask;
    lane.overdue = false;
    if (limits_.watch != nullptr) ended_now_.push_back(task.id);
    if (binder_ != nullptr && !task.empty) binder_->ended(task, state);
    ledger_.end(task);
    report_.makespan = std::max(report_.makespan, now_);
    settle(lane, task, {report_.tasks[task.id].start, now_, state});
  }

  void settle(Lane& lane, const Task& task, const TaskTiming& timing) {
    report_.tasks[task.id] = timing;
    if (timing.state != TaskState::kDone)
      for (const TaskId next : graph_.successors(task.id)) doomed_[next] = true;
    lane.ended = task.id + 1;
    ++lane.next;
    --unended_;
  }

  // After all that ends at this instant, before anything starts.
  void tell_watch() {
    for (const TaskId id : std::exchange(ended_now_, {})) limits_.watch->ended(graph_.task(id), report_.tasks[id]);
    if (limits_.watch->next_alarm() <= now_) limits_.watch->alarm(now_);
  }

  void declare_stuck() {
    TaskId first = kNoTask;
    for (size_t d = 0; d < lanes_.size(); ++d) {
      const std::span<const TaskId> order = graph_.lane(static_cast<DeviceId>(d));
      if (lanes_[d].next < order.size()) first = std::min(first, order[lanes_[d].next]);
    }
    stop(no_progress_error(graph_, first, ledger_.shortage(graph_.task(first))));
  }

  void stop(const Error& reason) {
    if (report_.status.ok()) report_.status = reason;
    stopped_ = true;
  }

  const TaskGraph& graph_;
  TaskBinder* const binder_;
  const RunLimits& limits_;
  SimulatedTime* const time_;
  SimulatedMachine* const machine_;  // null: tasks last as they are given
  MemoryLedger ledger_;
  std::vector<Lane> lanes_;   // by device
  std::vector<bool> doomed_;  // a predecessor failed or was cancelled
  RunReport report_;
  std::vector<TaskId> ended_now_;  // that the watch has not been told of
  Duration now_;
  size_t unended_ = graph_.size();
  bool stopped_ = false;
};

class VirtualExecutor final : public Executor {
 public:
  VirtualExecutor(SimulatedTime* time, SimulatedMachine* machine) : time_(time), machine_(machine) {}
  RunReport run(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits) override {
    return VirtualRun(graph, binder, limits, time_, machine_).run();
  }

 private:
  SimulatedTime* const time_;        // not owned
  SimulatedMachine* const machine_;  // likewise
};

}  // namespace

std::unique_ptr<Executor> make_virtual_executor(SimulatedTime* time, SimulatedMachine* machine) {
  return std::make_unique<VirtualExecutor>(time, machine);
}

}  // namespace tessera
