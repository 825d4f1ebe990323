// Hands tasks to the lane's thread.
#include "backends/fpga/lane.h"

#include <algorithm>

#include "framework/clock.h"

namespace tessera::fpga {

Lane::Lane(Execute execute) : execute_(std::move(execute)), thread_([this] { run(); }) {}

Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  queued_.notify_all();
  thread_.join();
}

Ticket Lane::submit(const Task& task, const Operands& operands) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back({++last_, &task, &operands});
  queued_.notify_one();
  return last_;
}

Status Lane::wait(Ticket ticket, Duration deadline) {
  std::unique_lock lock(mutex_);
  if (ticket == kDone || ticket > last_) return {};
  const auto ended = [&] { return results_.contains(ticket); };
  if (!ended()) {
    // No further than the clock's own kind can say.
    const Duration left = deadline - WallClock::instance().now();
    const auto most = std::chrono::hours(24);
    const bool forever = deadline.ns > INT64_MAX / 2 || std::chrono::nanoseconds(left.ns) > most;
    const auto until =
        std::chrono::steady_clock::now() + (forever ? most : std::chrono::nanoseconds(std::max<int64_t>(left.ns, 0)));
    if (!ended_.wait_until(lock, until, ended))
      return Error{ErrorCode::kDeadline, "fpga: ticket " + std::to_string(ticket) + " is still running; wait again"};
  }
  const auto at = results_.find(ticket);
  Status result = std::move(at->second);
  results_.erase(at);
  return result;
}

Error Lane::cancelled(const Job& job) {
  return {ErrorCode::kCancelled, "fpga: task " + std::to_string(job.task->id) + " was cancelled"};
}

void Lane::cancel(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& j) { return j.ticket == ticket; });
  if (at == jobs_.end()) return;
  results_[ticket] = cancelled(*at);
  jobs_.erase(at);
  ended_.notify_all();
}

void Lane::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) break;
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    Status result = execute_(*job.task, *job.operands);
    lock.lock();
    results_[job.ticket] = std::move(result);
    ended_.notify_all();
  }
  for (const Job& job : jobs_) results_[job.ticket] = cancelled(job);
  ended_.notify_all();
}

}  // namespace tessera::fpga
