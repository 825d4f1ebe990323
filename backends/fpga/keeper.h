// Keeps one device's worker running: starts it when it is wanted, sees it die at once, starts the next.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "backends/fpga/worker_process.h"

namespace tessera::fpga {

// Life of a worker, all on the keeper's thread: start, watch its pidfd, reap, clean up. One that had lived for a second is
// replaced at once; one that dies sooner when the next call wants it, so that a device that cannot work costs nothing.
class Keeper {
 public:
  explicit Keeper(WorkerPlan plan);
  // Ends the worker.
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // The worker that runs, or a new one. Any thread.
  Result<std::shared_ptr<WorkerProcess>> worker(Moment deadline);
  // Kills a worker that is of no more use; `why` becomes its cause.
  void give_up(const WorkerProcess& worker, const std::string& why);
  // Waits until the end of a worker that is dying is known; how it ended.
  std::string cause(const WorkerProcess& worker);
  // Null where none runs.
  std::shared_ptr<WorkerProcess> running() const;
  int pid() const;

 private:
  void run();
  void start();
  void watch();
  void wake() const;

  const WorkerPlan plan_;
  int wake_ = -1;  // an eventfd that ends watch()'s poll
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<WorkerProcess> current_;
  Error failure_;            // of the last start
  uint64_t failures_ = 0;    // starts that failed
  uint64_t lives_ = 0;       // workers started
  uint64_t ended_life_ = 0;  // the last worker whose end is known, and how it ended
  std::string ended_cause_;
  std::string blame_;
  bool wanted_ = false;
  bool stop_ = false;
  std::thread thread_;  // last: uses the others
};

}  // namespace tessera::fpga
