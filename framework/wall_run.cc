// Runs the lanes of one graph under the wall clock.
#include "framework/wall_run.h"

#include <algorithm>

#include "framework/run_rules.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tessera {
namespace {

// Waits shorter than this are not worth a system call; measured: a sleep and its wake-up take 5 to 50 us
// (benchmarks/executor).
constexpr Duration kSpin = microseconds(20);
// How often a running task looks for a cancel request.
constexpr Duration kCancelPoll = milliseconds(2);

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `ready` or until kSpin has passed.
template <typename Ready>
bool spin_until(const WallClock& clock, Ready ready) {
  const Duration until = clock.now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause_cpu();
    }
  } while (clock.now() < until);
  return ready();
}

}  // namespace

WallRun::WallRun(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits, std::vector<WallLane>& lanes)
    : graph_(graph),
      binder_(binder),
      limits_(limits),
      lanes_(lanes),
      progress_(new Progress[graph.device_count()]),
      doomed_(new std::atomic<uint8_t>[graph.size()]()),
      timings_(graph.size()),
      ledger_(graph, limits),
      sleeping_on_(graph.device_count(), kNoTask) {
  uint32_t offset = 0;
  for (int d = 0; d < graph.device_count(); ++d) {
    cursor_.push_back(offset);
    offset += static_cast<uint32_t>(graph.lane(static_cast<DeviceId>(d)).size());
    running_lanes_ += !graph.lane(static_cast<DeviceId>(d)).empty();
  }
}

void WallRun::run_lane(DeviceId device) {
  Here here{lanes_[device], device, false, {}, false};
  if (!here.lane.abandoned.empty()) {
    here.lost = true;
    const Abandoned& busy = here.lane.abandoned.front();
    const std::lock_guard lock(mutex_);
    if (first_error_.ok())
      first_error_ = Error{ErrorCode::kDevice, "device " + std::to_string(device) + ": still busy with task " +
                                                   std::to_string(busy.work->task.id) + " of an earlier run"};
  }
  for (const TaskId id : graph_.lane(device)) {
    const Task& task = graph_.task(id);
    await_predecessors(here, id);
    if (cancel_requested() && !stopped_.load(std::memory_order_relaxed)) {
      const std::lock_guard lock(mutex_);
      stop(cancelled_error());
    }
    const bool cancelled = here.lost || stopped_.load(std::memory_order_relaxed) ||
                           doomed_[id].load(std::memory_order_relaxed) != 0 || !await_grant(here, task);
    if (cancelled)
      skip(here, task);
    else
      execute(here, task);
    progress_[device].ended.exchange(id + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) != 0) {
      { const std::lock_guard lock(mutex_); }  // a sleeper is either before its last look or in wait
      wake_.notify_all();
    }
  }
  const std::lock_guard lock(mutex_);
  --running_lanes_;
  declare_stuck_if_so();
}

bool WallRun::predecessors_ended(TaskId id) const {
  for (const TaskId before : graph_.joins(id))
    if (progress_[graph_.task(before).cost.device].ended.load(std::memory_order_seq_cst) <= before) return false;
  return true;
}

void WallRun::await_predecessors(Here& here, TaskId id) {
  if (graph_.joins(id).empty()) return;
  here.fresh = false;  // they may have ended after the last reading
  if (predecessors_ended(id)) return;
  if (!spin_until(clock_, [&] { return predecessors_ended(id); })) sleep(here.device, id);
}

// False where the run was stopped meanwhile.
bool WallRun::await_grant(Here& here, const Task& task) {
  if (task.reserve == 0) return true;
  here.fresh = false;
  for (;;) {
    uint32_t seen = 0;
    {
      const std::lock_guard lock(mutex_);
      if (stopped_.load(std::memory_order_relaxed)) return false;
      if (ledger_.grantable(task)) {
        ledger_.grant(task);
        ledger_changes_.fetch_add(1, std::memory_order_release);
        if (sleepers_.load(std::memory_order_relaxed) != 0) wake_.notify_all();  // the next in order may fit, too
        return true;
      }
      seen = ledger_changes_.load(std::memory_order_relaxed);
    }
    const auto changed = [&] {
      return ledger_changes_.load(std::memory_order_acquire) != seen || stopped_.load(std::memory_order_relaxed);
    };
    if (!spin_until(clock_, changed)) sleep(here.device, task.id);
  }
}

void WallRun::sleep(DeviceId device, TaskId id) {
  std::unique_lock lock(mutex_);
  sleeping_on_[device] = id;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (!can_go(id)) {
    declare_stuck_if_so();
    if (can_go(id)) break;
    wake_.wait(lock);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  sleeping_on_[device] = kNoTask;
}

bool WallRun::can_go(TaskId id) const {
  return predecessors_ended(id) && (stopped_.load(std::memory_order_relaxed) ||
                                    doomed_[id].load(std::memory_order_relaxed) != 0 || ledger_.grantable(graph_.task(id)));
}

// Every lane sleeps or has ended, and none of them could go: only bytes can be missing (the least waiting task heads its
// lane, and all its predecessors have ended).
void WallRun::declare_stuck_if_so() {
  if (running_lanes_ == 0 || sleepers_.load(std::memory_order_relaxed) < running_lanes_) return;
  TaskId first = kNoTask;
  for (const TaskId id : sleeping_on_) {
    if (id == kNoTask) continue;
    if (can_go(id)) return;
    first = std::min(first, id);
  }
  stop(no_progress_error(graph_, first, ledger_.shortage(graph_.task(first))));
}

void WallRun::stop(const Error& reason) {
  if (first_error_.ok()) first_error_ = reason;
  stopped_.store(true, std::memory_order_seq_cst);
  wake_.notify_all();
}

void WallRun::fail(TaskId id, const Error& error) {
  for (const TaskId next : graph_.successors(id)) doomed_[next].store(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (first_error_.ok()) first_error_ = error;
}

void WallRun::skip(Here& here, const Task& task) {
  for (const TaskId next : graph_.successors(task.id)) doomed_[next].store(1, std::memory_order_relaxed);
  if (task.reserve > 0 || task.release > 0) {
    const std::lock_guard lock(mutex_);
    ledger_.skip(task);
    ledger_changes_.fetch_add(1, std::memory_order_release);
  }
  const Duration now = since_start();
  record(here, {now, now, TaskState::kCancelled});
}

void WallRun::execute(Here& here, const Task& task) {
  if (!here.fresh) here.now = since_start();
  const Duration started = here.now;
  const Outcome outcome = perform(here, task, started);
  here.now = since_start();
  here.fresh = binder_ == nullptr;
  const bool given_up = outcome.state == TaskState::kRunning;
  const TaskState state = given_up ? TaskState::kFailed : outcome.state;
  record(here, {started, here.now, state});
  if (state == TaskState::kFailed) fail(task.id, outcome.error);
  if (binder_ != nullptr) binder_->ended(task, outcome.state);
  if (task.release == 0 && !given_up) return;
  const std::lock_guard lock(mutex_);
  if (given_up)
    ledger_.abandon(task);
  else
    ledger_.end(task);
  ledger_changes_.fetch_add(1, std::memory_order_release);
}

// Binds, submits and waits.
WallRun::Outcome WallRun::perform(Here& here, const Task& task, Duration started) {
  InFlight& work = *here.lane.work;
  work.task = task;
  if (binder_ != nullptr) {
    Result<Operands> operands = binder_->bind(task);
    if (!operands.ok()) return {TaskState::kFailed, task_error(graph_, task.id, operands.error())};
    work.operands = operands.take();
  }
  const DeviceBinding& device = here.lane.binding;
  const Result<Ticket> ticket = device.backend->submit(device.device, work.task, work.operands);
  if (!ticket.ok()) return {TaskState::kFailed, task_error(graph_, task.id, ticket.error())};
  if (*ticket == kDone) return {};
  return await_ticket(here, *ticket, task, started);
}

WallRun::Outcome WallRun::await_ticket(Here& here, Ticket ticket, const Task& task, Duration started) {
  const DeviceBinding& device = here.lane.binding;
  const Duration limit = overdue_limit(task, limits_.overdue_floor);
  Duration deadline = saturating_add(began_ + started, limit);
  bool overdue = false, cancelled = false;
  for (;;) {
    Duration until = deadline;
    if (limits_.cancel != nullptr && !cancelled) until = std::min(until, clock_.now() + kCancelPoll);
    const Status status = device.backend->wait(device.device, ticket, until);
    if (status.ok()) return {};
    if (status.error().code != ErrorCode::kDeadline) {
      if (overdue)
        return {TaskState::kFailed, overdue_error(graph_, task.id, limit, "cancelled: " + status.error().message)};
      return {TaskState::kFailed, task_error(graph_, task.id, status.error())};
    }
    if (!cancelled && cancel_requested()) {
      cancelled = true;
      {
        const std::lock_guard lock(mutex_);
        stop(cancelled_error());
      }
      device.backend->cancel(device.device, ticket);
    }
    if (clock_.now() < deadline) continue;
    if (overdue) return give_up(here, ticket, task, limit);
    overdue = true;
    device.backend->cancel(device.device, ticket);
    deadline = saturating_add(clock_.now(), limits_.overdue_floor);
  }
}

// The device keeps the operands that it may still use; the lane goes on with new ones.
WallRun::Outcome WallRun::give_up(Here& here, Ticket ticket, const Task& task, Duration limit) {
  here.lost = true;
  here.lane.abandoned.push_back({ticket, std::move(here.lane.work)});
  here.lane.work = std::make_unique<InFlight>();
  return {TaskState::kRunning,
          overdue_error(graph_, task.id, limit, "cancelling did not end it, so the device takes no further task")};
}

RunReport WallRun::take_report() {
  RunReport report;
  report.status = first_error_;
  report.peak = ledger_.peaks();
  report.tasks.resize(graph_.size());
  size_t at = 0;
  for (int d = 0; d < graph_.device_count(); ++d) {
    for (const TaskId id : graph_.lane(static_cast<DeviceId>(d))) {
      report.tasks[id] = timings_[at++];
      if (report.tasks[id].state != TaskState::kCancelled) report.makespan = std::max(report.makespan, report.tasks[id].end);
    }
  }
  return report;
}

}  // namespace tessera
