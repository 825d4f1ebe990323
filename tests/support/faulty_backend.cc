// Counts tasks, and spoils the one that was asked for.
#include "tests/support/faulty_backend.h"

#include <chrono>

namespace tessera::testing {
namespace {

constexpr Duration kSlowTask = milliseconds(12);  // ten times what a task of a tiny model takes on a busy machine

Error injected(const std::string& what) { return {ErrorCode::kDevice, "injected: " + what}; }

std::chrono::nanoseconds left(Duration deadline) {
  const Duration now = WallClock::instance().now();
  return std::chrono::nanoseconds(deadline > now ? std::min((deadline - now).ns, int64_t{3'600'000'000'000}) : 0);
}

}  // namespace

void FaultyBackend::inject(const Injection& injection) {
  const std::lock_guard lock(mutex_);
  injection_ = injection;
  seen_ = 0;
  hits_ = 0;
}

void FaultyBackend::release_hanging() {
  const std::lock_guard lock(mutex_);
  failing_.insert(hanging_.begin(), hanging_.end());
  hanging_.clear();
  changed_.notify_all();
}

bool FaultyBackend::hit(int device) {
  if (injection_.fault == Fault::kNone || device != injection_.device) return false;
  const int task = seen_++;
  const bool hits = injection_.for_good ? task >= injection_.at : task == injection_.at;
  hits_ += hits;
  return hits;
}

Result<Buffer> FaultyBackend::allocate(int device, Bytes bytes) {
  if (allocations_left_.fetch_sub(1) <= 0) return injected("has no memory");
  return inner_->allocate(device, bytes);
}

Result<Ticket> FaultyBackend::submit(int device, const Task& task, const Operands& operands) {
  std::unique_lock lock(mutex_);
  if (!hit(device)) {
    lock.unlock();
    return inner_->submit(device, task, operands);
  }
  const Ticket ticket = ++last_;
  switch (injection_.fault) {
    case Fault::kRefuses:
      return injected("refuses task " + std::to_string(task.id));
    case Fault::kFails:
      failing_.insert(ticket);
      return ticket;
    case Fault::kHangs:
      hanging_.insert(ticket);
      return ticket;
    case Fault::kStalls:
      (hits_ == 1 ? hanging_ : failing_).insert(ticket);
      return ticket;
    case Fault::kSlow: {
      lock.unlock();
      TESSERA_ASSIGN(const Ticket inner, inner_->submit(device, task, operands));
      lock.lock();
      slow_[ticket] = {inner, WallClock::instance().now() + kSlowTask};
      return ticket;
    }
    case Fault::kStrikes: {
      lock.unlock();
      const Result<Ticket> got = inner_->submit(device, task, operands);
      injection_.strike();
      return got;
    }
    default:
      lock.unlock();
      return submit_wrong(device, task, operands);
  }
}

// What is too small must be refused by whoever would write beyond it.
Result<Ticket> FaultyBackend::submit_wrong(int device, const Task& task, const Operands& operands) {
  Operands wrong = operands;
  Buffer small;
  std::vector<Move> moves(operands.moves.begin(), operands.moves.end());
  std::vector<ReadRequest> reads(operands.reads.begin(), operands.reads.end());
  if (!moves.empty()) {
    small = *moves[0].to.buffer;
    moves[0].to.buffer = &small;
    wrong.moves = moves;
  } else if (!reads.empty()) {
    small = *reads[0].to.buffer;
    reads[0].to.buffer = &small;
    wrong.reads = reads;
  } else {
    small = *wrong.output.buffer;
    wrong.output.buffer = &small;
  }
  small.bytes = {1};
  Result<Ticket> got = inner_->submit(device, task, wrong);
  if (!got.ok()) return got;
  return injected("operands of the wrong size were taken");
}

Status FaultyBackend::wait(int device, Ticket ticket, Duration deadline) {
  if (ticket < kOurs) return inner_->wait(device, ticket, deadline);
  {
    const std::lock_guard lock(mutex_);
    if (slow_.count(ticket) == 0 && hanging_.count(ticket) == 0) {
      failing_.erase(ticket);
      return injected("ticket " + std::to_string(ticket - kOurs) + " failed");
    }
  }
  const bool slow = [&] {
    const std::lock_guard lock(mutex_);
    return slow_.count(ticket) != 0;
  }();
  return slow ? wait_slow(device, ticket, deadline) : wait_hanging(ticket, deadline);
}

Status FaultyBackend::wait_hanging(Ticket ticket, Duration deadline) {
  std::unique_lock lock(mutex_);
  const auto over = [&] { return hanging_.count(ticket) == 0; };
  if (!changed_.wait_for(lock, left(deadline), over)) return Error{ErrorCode::kDeadline, "injected: hangs"};
  failing_.erase(ticket);
  return injected("hung until it was released");
}

Status FaultyBackend::wait_slow(int device, Ticket ticket, Duration deadline) {
  std::unique_lock lock(mutex_);
  Slow& slow = slow_.at(ticket);
  const auto stop = [&] { return slow.cancelled; };
  const Duration until = std::min(deadline, slow.until);
  if (!changed_.wait_for(lock, left(until), stop) && until < slow.until)
    return Error{ErrorCode::kDeadline, "injected: slow"};
  const Ticket inner = slow.inner;
  lock.unlock();
  const Status ended = inner == kDone ? Status{} : inner_->wait(device, inner, deadline);
  if (!ended.ok() && ended.error().code == ErrorCode::kDeadline) return ended;
  lock.lock();
  slow_.erase(ticket);
  return ended;
}

void FaultyBackend::cancel(int device, Ticket ticket) {
  if (ticket < kOurs) return inner_->cancel(device, ticket);
  const std::lock_guard lock(mutex_);
  if (injection_.fault == Fault::kStalls && hanging_.erase(ticket) > 0) failing_.insert(ticket);
  changed_.notify_all();
  const auto slow = slow_.find(ticket);
  if (slow == slow_.end()) return;
  slow->second.cancelled = true;
  if (slow->second.inner != kDone) inner_->cancel(device, slow->second.inner);
}

}  // namespace tessera::testing
