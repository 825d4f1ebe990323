// Runs work that comes in stages of independent items on a few threads that join and leave as they come.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <tbb/task_arena.h>

#include "framework/units.h"

namespace tessera::cpu {

// What a task does: stage after stage, each so many items. `run` is called from any thread; `thread` < threads() tells
// whose scratch is free. A stage begins when all items of the one before have ended, and sees what they wrote.
class StagedWork {
 public:
  virtual ~StagedWork() = default;
  virtual int stages() const = 0;
  virtual int items(int stage) const = 0;
  virtual void run(int stage, int item, int thread) = 0;
};

// Items are claimed one by one from a single counter, so a thread that comes late joins where the others are, and nobody
// waits for one that has not come: the join between two stages costs as much as a cache line changing hands.
//
// Threads: 0 is the caller of run, 1 whoever waits for the result and helps, the others are oneTBB's, in an arena of their
// own. So on two cores no thread has to be woken to answer a request.
class StageRunner {
 public:
  // 0 threads: all cores. `opened` is called when work may be joined, by the thread that runs it.
  StageRunner(int threads, std::function<void()> opened);
  int threads() const { return threads_; }
  // Returns when all stages are done, or, after stop(), when no item runs any more. One call at a time.
  void run(StagedWork& work, const std::atomic<bool>& stop);
  // Whether there is work that another thread may join.
  bool open() const { return open_.load(); }
  // Joins until the work is done or the deadline has passed, if there is work and nobody else helps; from any thread.
  void help(Duration deadline);

 private:
  void participate(int thread, Duration deadline);
  void advance(int next);

  const int threads_;
  const std::function<void()> opened_;
  tbb::task_arena arena_;
  StagedWork* work_ = nullptr;  // these three: set by run before `open_`, constant while it is set
  const std::atomic<bool>* stop_ = nullptr;
  int stages_ = 0;
  std::atomic<bool> open_{false};
  std::atomic<bool> helped_{false};             // thread 1 is inside
  alignas(64) std::atomic<uint64_t> claim_{0};  // stage << 32 | next item
  alignas(64) std::atomic<int> done_{0};        // items of the current stage that have ended
};

}  // namespace tessera::cpu
