// Claims items of stages and waits between stages by spinning: a stage lasts tens of microseconds.
#include "backends/cpu/stages.h"

#include <thread>

#include <tbb/parallel_for.h>

#include "hwy/cache_control.h"

namespace tessera::cpu {
namespace {

// Pauses before giving the core away: about 20 microseconds, several times what a balanced stage leaves to wait for.
constexpr int kSpins = 1000;

int arena_threads(int asked) {
  const int all = tbb::this_task_arena::max_concurrency();
  return asked <= 0 ? all : asked;
}

}  // namespace

StageRunner::StageRunner(int threads) : threads_(arena_threads(threads)), arena_(threads_) {}

void StageRunner::advance(const StagedWork& work, int next) {
  while (next < work.stages() && work.items(next) == 0) ++next;
  done_.store(0, std::memory_order_relaxed);
  claim_.store(static_cast<uint64_t>(next) << 32, std::memory_order_release);
}

void StageRunner::participate(StagedWork& work, int thread, const std::atomic<bool>& stop) {
  for (;;) {
    const uint64_t claimed = claim_.fetch_add(1, std::memory_order_acq_rel);
    const int stage = static_cast<int>(claimed >> 32);
    if (stage >= work.stages()) return;
    const uint32_t item = static_cast<uint32_t>(claimed);
    const int items = work.items(stage);
    if (item < static_cast<uint32_t>(items)) {
      if (!stop.load(std::memory_order_relaxed)) work.run(stage, static_cast<int>(item), thread);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == items) advance(work, stage + 1);
      continue;
    }
    for (int spins = 0; claim_.load(std::memory_order_acquire) >> 32 == static_cast<uint64_t>(stage); ++spins) {
      if (spins < kSpins) {
        hwy::Pause();
      } else {
        std::this_thread::yield();
      }
    }
  }
}

void StageRunner::run(StagedWork& work, const std::atomic<bool>& stop) {
  advance(work, 0);
  if (threads_ == 1) return participate(work, 0, stop);
  arena_.execute([&] {
    tbb::parallel_for(
        0, threads_, [&](int thread) { participate(work, thread, stop); }, tbb::simple_partitioner());
  });
}

}  // namespace tessera::cpu
