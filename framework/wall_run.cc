// Decides which thread runs which lane next, and when to sleep and whom to wake.
#include "framework/wall_run.h"

#include <algorithm>

#include "framework/run_rules.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tessera {
namespace {

// Waits shorter than this are not worth a system call: a sleep and its wake-up take 5 to 50 us.
constexpr Duration kSpin = microseconds(20);

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

WallRun::WallRun(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits, std::vector<WallDevice>& devices)
    : graph_(graph),
      binder_(binder),
      limits_(limits),
      lane_count_(graph.device_count()),
      lanes_(new Lane[lane_count_]),
      doomed_(new std::atomic<uint8_t>[graph.size()]()),
      timings_(graph.size()),
      ledger_(graph, limits),
      begun_(limits.watch != nullptr ? graph.size() : 0) {
  TaskTiming* timings = timings_.data();
  for (size_t d = 0; d < lane_count_; ++d) {
    Lane& lane = lanes_[d];
    lane.order = graph.lane(static_cast<DeviceId>(d));
    if (lane.order.empty()) continue;
    ++lanes_left_;
    lane.device = &devices[d];
    lane.timings = timings;
    timings += lane.order.size();
    if (lane.device->abandoned.empty()) continue;
    lane.lost = true;
    const Error busy{ErrorCode::kDevice, "device " + std::to_string(d) + ": still busy with task " +
                                             std::to_string(lane.device->abandoned.front().work->task.id) +
                                             " of an earlier run"};
    if (first_error_.ok()) first_error_ = busy;
    faults_.push_back({lane.order.front(), busy, true, true});
  }
}

void WallRun::help(DeviceId first, bool is_caller) {
  {
    const std::lock_guard lock(mutex_);
    ++threads_;
  }
  size_t at = first;
  bool owe = false;  // this thread made other lanes ready, and has not woken anybody for them
  do {
    for (size_t tried = 0; tried < lane_count_; ++tried) {
      if (try_lane(lanes_[at], owe)) tried = 0;
      at = at + 1 == lane_count_ ? 0 : at + 1;
    }
    owe = false;  // nothing was left to take
  } while (rest(is_caller));
}

bool WallRun::predecessors_ended(TaskId id) const {
  for (const TaskId before : graph_.joins(id))
    if (lanes_[graph_.task(before).cost.device].ended.load(std::memory_order_seq_cst) <= before) return false;
  return true;
}

// Without the lock: false where it surely cannot.
bool WallRun::may_go(const Lane& lane) const {
  if (lane.held.load(std::memory_order_relaxed)) return false;
  const uint32_t next = lane.next.load(std::memory_order_relaxed);
  if (next == lane.order.size()) return false;
  const Task& task = graph_.task(lane.order[next]);
  const bool needs_nothing = limits_.watch == nullptr && task.reserve == 0;  // who is watched may be rewritten just now
  return predecessors_ended(task.id) &&
         (needs_nothing || lane.refused.load(std::memory_order_relaxed) != ledger_changes_.load(std::memory_order_acquire));
}

bool WallRun::any_may_go() const {
  return std::any_of(lanes_.get(), lanes_.get() + lane_count_, [this](const Lane& lane) { return may_go(lane); });
}

bool WallRun::can_go(const Lane& lane, const Task& task) const {
  return predecessors_ended(task.id) &&
         (stopped_.load(std::memory_order_relaxed) || lane.lost.load(std::memory_order_relaxed) ||
          doomed_[task.id].load(std::memory_order_relaxed) != 0 || ledger_.grantable(task));
}

// Runs the lane as far as it goes. False where it did not go at all, or another thread holds it.
bool WallRun::try_lane(Lane& lane, bool& owe) {
  if (!may_go(lane) || lane.held.exchange(true, std::memory_order_acquire)) return false;
  if (owe) owe = any_may_go();  // beside this one
  bool any = false;
  while (step(lane, owe)) any = true;
  let_go(lane, owe);
  return any;
}

// Ends the lane's head, if that can start now.
bool WallRun::step(Lane& lane, bool& owe) {
  const Task* const task = head(lane);
  bool cancelled = false;
  if (task == nullptr || !may_start(lane, *task, cancelled)) return false;
  if (owe) wake_.notify_all();  // this thread stays busy here
  owe = false;
  if (cancelled)
    skip(lane, *task);
  else
    execute(lane, *task);
  publish(lane, *task, owe);
  if (limits_.watch == nullptr || cancelled) return true;
  if (owe) wake_.notify_all();
  owe = false;
  limits_.watch->ended(*task, lane.timings[lane.next.load(std::memory_order_relaxed) - 1]);
  lane.fresh = false;
  return true;
}

bool WallRun::may_start(Lane& lane, const Task& task, bool& cancelled) {
  if (!graph_.joins(task.id).empty()) {
    if (!predecessors_ended(task.id)) return false;
    lane.fresh = false;  // they may have ended after the last reading of the clock
  }
  if (cancel_requested() && !stopped_.load(std::memory_order_relaxed)) stop(cancelled_error());
  cancelled = stopped_.load(std::memory_order_relaxed) || lane.lost.load(std::memory_order_relaxed) ||
              doomed_[task.id].load(std::memory_order_relaxed) != 0;
  if (cancelled || (limits_.watch == nullptr && task.reserve == 0)) return true;
  lane.fresh = false;
  const std::lock_guard lock(mutex_);
  if (!ledger_.grantable(task)) {
    lane.refused.store(ledger_changes_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return false;
  }
  if (limits_.watch != nullptr) {
    begun_[task.id] = true;
    limits_.watch->started(task, since_start());
  }
  if (task.reserve == 0) return true;
  ledger_.grant(task);
  ledger_changed();  // the next in order may fit, too
  return true;
}

void WallRun::publish(Lane& lane, const Task& task, bool& owe) {
  const uint32_t next = lane.next.load(std::memory_order_relaxed) + 1;
  lane.next.store(next, std::memory_order_relaxed);
  lane.ended.exchange(task.id + 1, std::memory_order_seq_cst);
  if (task.id >= lane.wake_at.load(std::memory_order_seq_cst)) {
    const std::lock_guard lock(mutex_);
    lane.wake_at.store(kNoTask, std::memory_order_relaxed);
    owe = register_free_lanes();
  }
  if (next != lane.order.size()) return;
  const std::lock_guard lock(mutex_);
  lanes_left_.fetch_sub(1, std::memory_order_relaxed);
  wake_.notify_all();
}

void WallRun::let_go(Lane& lane, bool& owe) {
  lane.held.store(false, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
  // The sleepers left this lane to its holder; nobody watches it now.
  const std::lock_guard lock(mutex_);
  owe = register_free_lanes() || owe;
}

// Says for each free lane which task it waits for. True where one can go.
bool WallRun::register_free_lanes() {
  bool any = false;
  for (size_t d = 0; d < lane_count_; ++d) {
    const Lane& lane = lanes_[d];
    if (lane.held.load(std::memory_order_seq_cst)) continue;
    const Task* const task = head(lane);
    if (task == nullptr) continue;
    for (const TaskId before : graph_.joins(task->id)) {
      Lane& other = lanes_[graph_.task(before).cost.device];
      if (other.ended.load(std::memory_order_seq_cst) > before) continue;
      if (before < other.wake_at.load(std::memory_order_relaxed)) other.wake_at.store(before, std::memory_order_seq_cst);
      break;
    }
    any = can_go(lane, *task) || any;
  }
  return any;
}

// Spins, then sleeps, until there may be something to do. False where this thread is needed no more.
bool WallRun::rest(bool is_caller) {
  const Duration until = clock_.now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (lanes_left_.load(std::memory_order_relaxed) == 0) return sleep(is_caller);
      if (any_may_go()) return true;
      pause_cpu();
    }
  } while (clock_.now() < until);
  return sleep(is_caller);
}

bool WallRun::sleep(bool is_caller) {
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  bool needed = true;
  for (;;) {
    const int left = lanes_left_.load(std::memory_order_relaxed);
    if (left > 0 && register_free_lanes()) break;
    needed = left > 0 && (is_caller || threads_ <= left);
    if (!needed) break;
    if (sleepers_.load(std::memory_order_relaxed) == threads_)
      declare_stuck();  // all sleep, so nothing is held, and nothing can go
    else
      wake_.wait(lock);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  if (!needed) {
    --threads_;
    wake_.notify_all();  // the last one awake must look whether the run is stuck
  }
  return needed;
}

void WallRun::ledger_changed() {
  ledger_changes_.fetch_add(1, std::memory_order_release);
  if (sleepers_.load(std::memory_order_relaxed) != 0) wake_.notify_all();
}

// Only bytes can be missing: the least waiting task heads its lane, and all its predecessors have ended.
void WallRun::declare_stuck() {
  TaskId first = kNoTask;
  for (size_t d = 0; d < lane_count_; ++d)
    if (const Task* const task = head(lanes_[d]); task != nullptr) first = std::min(first, task->id);
  if (first_error_.ok()) first_error_ = no_progress_error(graph_, first, ledger_.shortage(graph_.task(first)));
  stopped_.store(true, std::memory_order_seq_cst);
  ledger_changed();
}

void WallRun::stop(const Error& reason) {
  const std::lock_guard lock(mutex_);
  if (first_error_.ok()) first_error_ = reason;
  stopped_.store(true, std::memory_order_seq_cst);
  ledger_changed();
}

bool WallRun::revise(std::span<const TaskId> tasks, const std::function<void()>& edit) {
  const std::lock_guard lock(mutex_);
  const auto begun = [this](TaskId id) { return begun_[id]; };
  if (stopped_.load(std::memory_order_relaxed) || !first_error_.ok() || std::any_of(tasks.begin(), tasks.end(), begun))
    return false;
  edit();
  ledger_.revised();
  ledger_changed();
  return true;
}

void WallRun::set_capacity(MemoryId memory, Bytes capacity) {
  const std::lock_guard lock(mutex_);
  ledger_.set_capacity(memory, capacity);
  ledger_changed();
}

RunReport WallRun::take_report() {
  RunReport report;
  report.status = first_error_;
  report.faults = std::move(faults_);
  report.peak = ledger_.peaks();
  report.tasks.resize(graph_.size());
  size_t at = 0;
  for (size_t d = 0; d < lane_count_; ++d) {
    for (const TaskId id : lanes_[d].order) {
      report.tasks[id] = timings_[at++];
      if (report.tasks[id].state != TaskState::kCancelled) report.makespan = std::max(report.makespan, report.tasks[id].end);
    }
  }
  return report;
}

}  // namespace tessera
