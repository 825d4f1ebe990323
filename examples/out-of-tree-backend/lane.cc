// Hands work to the thread, and waits for it.
#include "lane.h"

#include <chrono>

#include "framework/clock.h"

namespace slow {

using tessera::Error;
using tessera::ErrorCode;
using tessera::Status;

Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    for (const auto& [ticket, job] : jobs_) job->cancelled = true;
  }
  changed_.notify_all();
  thread_.join();
}

tessera::Ticket Lane::start(Work work) {
  auto job = std::make_shared<Job>();
  job->work = std::move(work);
  const std::lock_guard lock(mutex_);
  waiting_.push_back(job);
  jobs_.emplace(++last_, std::move(job));
  changed_.notify_all();
  return last_;
}

Status Lane::wait(tessera::Ticket ticket, tessera::Duration deadline) {
  if (ticket == tessera::kDone) return {};
  std::unique_lock lock(mutex_);
  const auto at = jobs_.find(ticket);
  if (at == jobs_.end())
    return Error{ErrorCode::kInvalid, "slow0: ticket " + std::to_string(ticket) + " is not under way; wait for it once"};
  const std::shared_ptr<Job> job = at->second;
  // Deadlines are the wall clock's; one that is far away must not overflow.
  constexpr int64_t kHour = 3'600'000'000'000;
  while (!job->ended) {
    const int64_t now = tessera::WallClock::instance().now().ns;
    if (now >= deadline.ns) return Error{ErrorCode::kDeadline, "slow0: the task is still running"};
    changed_.wait_for(lock, std::chrono::nanoseconds(std::min(deadline.ns - now, kHour)));
  }
  jobs_.erase(ticket);
  return job->status;
}

void Lane::cancel(tessera::Ticket ticket) {
  const std::lock_guard lock(mutex_);
  if (const auto at = jobs_.find(ticket); at != jobs_.end()) at->second->cancelled = true;
}

void Lane::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::shared_ptr<Job> job = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    Status status = job->cancelled ? Status(Error{ErrorCode::kCancelled, "slow0: cancelled before it began"})
                                   : job->work(job->cancelled);
    lock.lock();
    job->status = std::move(status);
    job->ended = true;
    changed_.notify_all();
  }
}

}  // namespace slow
