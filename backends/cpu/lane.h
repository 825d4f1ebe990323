// Takes tasks one after another on a thread of its own, and lets callers wait with a deadline.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include <sched.h>

#include "backends/cpu/stages.h"
#include "framework/backend.h"

namespace tessera::cpu {

// submit: from one thread at a time. wait, cancel: any thread. The lane polls for a while before it sleeps, because a
// request's layers follow each other within microseconds. Who waits helps: the work joins its core (stages.h).
class Lane {
 public:
  // Runs a task on the lane's thread; what can be shared of it goes through `runner`.
  using Execute = std::function<Status(StageRunner& runner, const Task&, const Operands&, const std::atomic<bool>& stop)>;
  Lane(int threads, Execute execute);
  ~Lane();  // after every ticket has ended
  Result<Ticket> submit(const Task& task, const Operands& operands);
  Status wait(Ticket ticket, Duration deadline);
  void cancel(Ticket ticket);
  int threads() const { return runner_.threads(); }

 private:
  static constexpr Ticket kDepth = 16;  // tickets under way or with a status not yet overwritten
  struct Slot {
    const Task* task = nullptr;
    const Operands* operands = nullptr;
    int core = -1;  // where it was submitted
    std::atomic<bool> stop{false};
    Status status;
  };
  void serve();
  void leave(int core);
  bool await_work(Ticket served);
  void wake_waiters();
  Slot& slot(Ticket t) { return slots_[t % kDepth]; }

  std::array<Slot, kDepth> slots_;
  alignas(64) std::atomic<Ticket> submitted_{0};
  alignas(64) std::atomic<Ticket> ended_{0};
  std::atomic<bool> closing_{false};
  std::atomic<bool> asleep_{false};  // the lane is, or is about to be
  std::atomic<int> waiters_{0};      // in wait's sleep, or about to be
  std::mutex sleep_;
  std::condition_variable work_, end_;
  StageRunner runner_;
  const Execute execute_;
  cpu_set_t allowed_{};  // cores; the lane's thread's own
  std::thread thread_;   // last: it uses the others
};

}  // namespace tessera::cpu
