// Runs work that comes in stages of independent items on the threads of a oneTBB arena.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <tbb/task_arena.h>

namespace tessera::cpu {

// What a task does: stage after stage, each so many items. `run` is called from any thread of the arena; `scratch` is that
// thread's own. A stage begins when all items of the one before have ended, and sees what they wrote.
class StagedWork {
 public:
  virtual ~StagedWork() = default;
  virtual int stages() const = 0;
  virtual int items(int stage) const = 0;
  virtual void run(int stage, int item, int thread) = 0;
};

// Items are claimed one by one from a single counter, so a thread that comes late joins where the others are, and nobody
// waits for one that has not come: the join between two stages costs as much as a cache line changing hands.
class StageRunner {
 public:
  explicit StageRunner(int threads);
  int threads() const { return threads_; }
  // Returns when all stages are done, or, after stop(), when no item runs any more. One call at a time.
  void run(StagedWork& work, const std::atomic<bool>& stop);

 private:
  void participate(StagedWork& work, int thread, const std::atomic<bool>& stop);
  void advance(const StagedWork& work, int next);

  const int threads_;
  tbb::task_arena arena_;
  alignas(64) std::atomic<uint64_t> claim_{0};  // stage << 32 | next item
  alignas(64) std::atomic<int> done_{0};        // items of the current stage that have ended
};

}  // namespace tessera::cpu
