// Claims items of stages and waits between stages by spinning: a stage lasts tens of microseconds.
#include "backends/cpu/stages.h"

#include <algorithm>
#include <thread>

#include <tbb/info.h>
#include <tbb/parallel_for.h>

#include "framework/clock.h"
#include "hwy/cache_control.h"

namespace tessera::cpu {
namespace {

// Pauses before giving the core away: about 20 microseconds, several times what a balanced stage leaves to wait for.
constexpr int kSpins = 1000;

// Under ThreadSanitizer, which cannot see into a oneTBB built without it, only the caller and who waits for it work.
#ifdef TESSERA_SERIAL_LOOPS
constexpr bool kSerialLoops = true;
#else
constexpr bool kSerialLoops = false;
#endif

bool passed(Duration deadline) { return deadline != kForever && WallClock::instance().now() >= deadline; }

void pause(int spins) {
  if (spins < kSpins) {
    hwy::Pause();
  } else {
    std::this_thread::yield();
  }
}

}  // namespace

StageRunner::StageRunner(int threads, std::function<void()> opened)
    : threads_(threads > 0 ? threads : tbb::info::default_concurrency()),
      opened_(std::move(opened)),
      arena_(std::clamp(threads_ - 1, 1, tbb::info::default_concurrency())) {}

void StageRunner::advance(int next) {
  while (next < stages_ && work_->items(next) == 0) ++next;
  // Who waits then sleeps instead of asking again: the thread that is to say the end may need this very core for it.
  if (next == stages_) open_.store(false);
  done_.store(0, std::memory_order_relaxed);
  claim_.store(static_cast<uint64_t>(next) << 32, std::memory_order_release);
}

void StageRunner::participate(int thread, Duration deadline) {
  while (!passed(deadline)) {
    const uint64_t claimed = claim_.fetch_add(1, std::memory_order_acq_rel);
    const int stage = static_cast<int>(claimed >> 32);
    if (stage >= stages_) return;
    const uint32_t item = static_cast<uint32_t>(claimed);
    const int items = work_->items(stage);
    if (item < static_cast<uint32_t>(items)) {
      if (!stop_->load(std::memory_order_relaxed)) work_->run(stage, static_cast<int>(item), thread);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == items) advance(stage + 1);
      continue;
    }
    for (int spins = 0; claim_.load(std::memory_order_acquire) >> 32 == static_cast<uint64_t>(stage); ++spins) {
      pause(spins);
      if (spins % 64 == 63 && passed(deadline)) return;
    }
  }
}

void StageRunner::run(StagedWork& work, const std::atomic<bool>& stop) {
  work_ = &work;
  stop_ = &stop;
  stages_ = work.stages();
  advance(0);
  if (threads_ > 1) {
    open_.store(true);
    opened_();
  }
  if (threads_ <= 2 || kSerialLoops) {
    participate(0, kForever);
  } else {
    arena_.execute([this] {
      tbb::parallel_for(
          0, threads_ - 1, [this](int i) { participate(i == 0 ? 0 : i + 1, kForever); }, tbb::simple_partitioner());
    });
  }
  open_.store(false);  // seq_cst, as in help: either the helper sees it or it is seen
  for (int spins = 0; helped_.load(); ++spins) pause(spins);
}

void StageRunner::help(Duration deadline) {
  if (helped_.exchange(true)) return std::this_thread::yield();
  if (open_.load()) participate(1, deadline);
  helped_.store(false);
}

}  // namespace tessera::cpu
