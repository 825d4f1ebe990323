// Hands tasks over without a system call where both sides are awake.
#include "backends/cpu/lane.h"

#include <chrono>
#include <string>

#include <sched.h>

#include "framework/clock.h"
#include "hwy/cache_control.h"

namespace tessera::cpu {
namespace {

// How long a side that waits stays awake: longer than it takes to wake the other one on a core that idles (a virtual one
// needs 100 us and more), for else each falls asleep while the other wakes up, task after task.
constexpr Duration kAwake = microseconds(250);
// Of that, how long it keeps the core to itself; then it lets others run, the thread that it waits for among them.
constexpr Duration kHot = microseconds(20);

// Polls until `done` or `span` has passed.
template <typename Done>
bool poll(Duration span, const Done& done) {
  const WallClock& clock = WallClock::instance();
  const Duration begin = clock.now();
  for (Duration past; past < span; past = clock.now() - begin) {
    if (past >= kHot) std::this_thread::yield();
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      hwy::Pause();
    }
  }
  return done();
}

}  // namespace

Lane::Lane(int threads, Execute execute)
    : runner_(threads, [this] { wake_waiters(); }), execute_(std::move(execute)), thread_([this] { serve(); }) {}

Lane::~Lane() {
  {
    const std::lock_guard lock(sleep_);
    closing_.store(true);
  }
  work_.notify_all();
  thread_.join();
}

Result<Ticket> Lane::submit(const Task& task, const Operands& operands) {
  const Ticket ticket = submitted_.load(std::memory_order_relaxed) + 1;
  if (ticket - ended_.load(std::memory_order_acquire) >= kDepth) {
    return Error{ErrorCode::kDevice, "cpu: " + std::to_string(kDepth - 1) + " tasks are under way; wait for one first"};
  }
  Slot& s = slot(ticket);
  s.task = &task;
  s.operands = &operands;
  s.core = sched_getcpu();
  s.stop.store(false, std::memory_order_relaxed);
  submitted_.store(ticket);  // before asleep_ is read: either side sees the other
  if (asleep_.load()) {
    const std::lock_guard lock(sleep_);
    work_.notify_one();
  }
  return ticket;
}

bool Lane::await_work(Ticket served) {
  const auto ready = [&] { return submitted_.load(std::memory_order_acquire) > served; };
  if (poll(kAwake, [&] { return ready() || closing_.load(std::memory_order_relaxed); }) && ready()) return true;
  std::unique_lock lock(sleep_);
  asleep_.store(true);
  work_.wait(lock, [&] { return submitted_.load() > served || closing_.load(); });
  asleep_.store(false);
  return ready();
}

// Who submitted a task will wait for it and help. On one core the two would take turns, and Linux may leave them there for
// seconds, beside an idle one: neither is ever seen waiting for long. A core that others keep busy is no worse than this
// one.
void Lane::leave(int core) {
  cpu_set_t others = allowed_;
  CPU_CLR(core, &others);
  if (CPU_COUNT(&others) > 0) sched_setaffinity(0, sizeof others, &others);
}

void Lane::serve() {
  if (sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) CPU_ZERO(&allowed_);
  for (Ticket next = 1; await_work(next - 1); ++next) {
    Slot& s = slot(next);
    if (s.core >= 0 && s.core == sched_getcpu()) leave(s.core);
    s.status = execute_(runner_, *s.task, *s.operands, s.stop);
    ended_.store(next);
    wake_waiters();
  }
}

// After ended_ or the runner's open() was set, before waiters_ is read: either side sees the other.
void Lane::wake_waiters() {
  if (waiters_.load() == 0) return;
  const std::lock_guard lock(sleep_);
  end_.notify_all();
}

Status Lane::wait(Ticket ticket, Duration deadline) {
  if (ticket == kDone) return {};
  if (ticket > submitted_.load()) return Error{ErrorCode::kInvalid, "cpu: ticket " + std::to_string(ticket) + " is unknown"};
  const auto ended = [&] { return ended_.load() >= ticket; };
  const auto left = [&] {
    return deadline == kForever ? kForever : std::max(deadline - WallClock::instance().now(), Duration{});
  };
  const auto moved = [&] { return ended() || runner_.open(); };
  // Help with whatever runs until the ticket has ended; sleep while there is nothing to help with.
  while (!ended() && left() > Duration{}) {
    if (!poll(std::min(left(), kAwake), moved)) {
      std::unique_lock lock(sleep_);
      waiters_.fetch_add(1);
      if (deadline == kForever) {
        end_.wait(lock, moved);
      } else {
        end_.wait_until(lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline.ns)), moved);
      }
      waiters_.fetch_sub(1);
    }
    if (!ended()) runner_.help(deadline);
  }
  if (!ended()) return Error{ErrorCode::kDeadline, "cpu: ticket " + std::to_string(ticket) + " still runs; wait again"};
  return slot(ticket).status;
}

void Lane::cancel(Ticket ticket) {
  if (ticket > ended_.load() && ticket <= submitted_.load()) slot(ticket).stop.store(true, std::memory_order_relaxed);
}

}  // namespace tessera::cpu
