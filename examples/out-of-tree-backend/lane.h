// Executes a device's work in order, on one thread, so that submit returns at once and wait keeps its deadline.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "framework/backend.h"

namespace slow {

// Work looks at `cancelled` now and then, and ends with kCancelled where it is set.
using Work = std::function<tessera::Status(const std::atomic<bool>& cancelled)>;

// Any thread may call.
class Lane {
 public:
  Lane() : thread_([this] { run(); }) {}
  ~Lane();
  tessera::Ticket start(Work work);
  // As Backend::wait. A ticket that was waited for to its end is forgotten.
  tessera::Status wait(tessera::Ticket ticket, tessera::Duration deadline);
  void cancel(tessera::Ticket ticket);

 private:
  struct Job {
    Work work;
    std::atomic<bool> cancelled{false};
    bool ended = false;
    tessera::Status status;
  };
  void run();

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::map<tessera::Ticket, std::shared_ptr<Job>> jobs_;
  tessera::Ticket last_ = tessera::kDone;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace slow
