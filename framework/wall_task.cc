// Runs one task on its device: binds, submits, waits, watches the clock, and settles what came of it.
#include <algorithm>

#include "framework/run_rules.h"
#include "framework/wall_run.h"

namespace tessera {
namespace {

// How often a running task looks for a cancel request.
constexpr Duration kCancelPoll = milliseconds(2);

}  // namespace

void WallRun::fail(const TaskFault& fault) {
  for (const TaskId next : graph_.successors(fault.task)) doomed_[next].store(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    if (first_error_.ok()) first_error_ = fault.error;
    if (fault.error.code != ErrorCode::kCancelled) faults_.push_back(fault);
  }
  if (limits_.stop_on_failure) stop(fault.error);
}

void WallRun::skip(Lane& lane, const Task& task) {
  for (const TaskId next : graph_.successors(task.id)) doomed_[next].store(1, std::memory_order_relaxed);
  if (limits_.watch != nullptr || task.reserve > 0 || task.release > 0) {
    const std::lock_guard lock(mutex_);
    if (limits_.watch != nullptr) begun_[task.id] = true;
    ledger_.skip(task);
    ledger_changed();
  }
  const Duration now = since_start();
  record(lane, {now, now, TaskState::kCancelled});
}

void WallRun::execute(Lane& lane, const Task& task) {
  if (!lane.fresh) lane.now = since_start();
  const Duration started = lane.now;
  const Outcome outcome = task.empty ? Outcome{} : perform(lane, task, started);
  lane.now = since_start();
  lane.fresh = binder_ == nullptr;
  const bool given_up = outcome.state == TaskState::kRunning;
  const TaskState state = given_up ? TaskState::kFailed : outcome.state;
  record(lane, {started, lane.now, state});
  if (state == TaskState::kFailed) fail({task.id, outcome.error, outcome.overdue, given_up, outcome.unbound});
  if (binder_ != nullptr && !task.empty) binder_->ended(task, outcome.state);
  if (task.release == 0 && !given_up) return;
  const std::lock_guard lock(mutex_);
  if (given_up)
    ledger_.abandon(task);
  else
    ledger_.end(task);
  ledger_changed();
}

WallRun::Outcome WallRun::perform(Lane& lane, const Task& task, Duration started) {
  InFlight& work = *lane.device->work;
  work.task = task;
  if (binder_ != nullptr) {
    Result<Operands> operands = binder_->bind(task);
    if (!operands.ok()) return {TaskState::kFailed, task_error(graph_, task.id, operands.error()), false, true};
    work.operands = operands.take();
  } else {
    work.operands = {};
  }
  const DeviceBinding& device = lane.device->binding;
  const Result<Ticket> ticket = device.backend->submit(device.device, work.task, work.operands);
  if (!ticket.ok()) return {TaskState::kFailed, task_error(graph_, task.id, ticket.error())};
  if (*ticket == kDone) return {};
  return await_ticket(lane, *ticket, task, started);
}

WallRun::Outcome WallRun::await_ticket(Lane& lane, Ticket ticket, const Task& task, Duration started) {
  const DeviceBinding& device = lane.device->binding;
  const Duration limit = overdue_limit(task, limits_);
  Duration deadline = saturating_add(began_ + started, limit);
  bool overdue = false, cancelled = false;
  for (;;) {
    Duration until = deadline;
    if (limits_.cancel != nullptr && !cancelled) until = std::min(until, clock_.now() + kCancelPoll);
    const Status status = device.backend->wait(device.device, ticket, until);
    if (status.ok()) return {};
    if (status.error().code != ErrorCode::kDeadline) {
      if (overdue)
        return {TaskState::kFailed, overdue_error(graph_, task.id, limit, "cancelled: " + status.error().message), true};
      return {TaskState::kFailed, task_error(graph_, task.id, status.error())};
    }
    if (!cancelled && cancel_requested()) {
      cancelled = true;
      stop(cancelled_error());
      device.backend->cancel(device.device, ticket);
    }
    if (clock_.now() < deadline) continue;
    if (overdue) return give_up(lane, ticket, task, limit);
    overdue = true;
    device.backend->cancel(device.device, ticket);
    deadline = saturating_add(clock_.now(), overdue_floor(task, limits_));
  }
}

// The device keeps the operands that it may still use; the next run gets new ones.
WallRun::Outcome WallRun::give_up(Lane& lane, Ticket ticket, const Task& task, Duration limit) {
  lane.lost = true;
  lane.device->abandoned.push_back({ticket, std::move(lane.device->work)});
  lane.device->work = std::make_unique<InFlight>();
  return {TaskState::kRunning,
          overdue_error(graph_, task.id, limit, "cancelling did not end it, so the device takes no further task"), true};
}

}  // namespace tessera
