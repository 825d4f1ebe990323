// Runs one queue of tasks, in order, on a thread of its own; waits with a deadline.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "framework/backend.h"

namespace tessera::fpga {

class Lane {
 public:
  // `execute` runs on the lane's thread; it ends by itself in bounded time.
  using Execute = std::function<Status(const Task&, const Operands&)>;
  explicit Lane(Execute execute);
  // Waits for what runs; what is queued ends as cancelled.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  Ticket submit(const Task& task, const Operands& operands);
  // Until `deadline` of WallClock. A ticket ends with the wait that says so.
  Status wait(Ticket ticket, Duration deadline);
  // A task that has not started ends as cancelled; one that runs is let run.
  void cancel(Ticket ticket);

 private:
  struct Job {
    Ticket ticket;
    const Task* task;
    const Operands* operands;
  };
  void run();
  static Error cancelled(const Job& job);

  const Execute execute_;
  std::mutex mutex_;
  std::condition_variable queued_, ended_;
  std::deque<Job> jobs_;
  std::map<Ticket, Status> results_;  // ended, not waited for
  Ticket last_ = kDone;
  bool stop_ = false;
  std::thread thread_;  // last: uses the others
};

}  // namespace tessera::fpga
