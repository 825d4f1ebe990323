// A backend whose tasks end as a script says, and a binder that writes down what it was asked.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "framework/clock.h"
#include "framework/executor.h"

namespace tessera {

enum class Script {
  kAtOnce,        // done at submit
  kLater,         // done at the first wait
  kFailSubmit,    // nothing is started
  kFailWait,      // ends with an error
  kUntilCancel,   // runs until it is cancelled, then ends with kCancelled
  kIgnoreCancel,  // runs until let_go() is called
};

// Serves any number of devices; the ticket is the task's id + 1. Waits really wait, by a condition variable.
class ScriptedBackend final : public Backend {
 public:
  void script(TaskId id, Script script) { scripts_[id] = script; }
  void let_go() {
    const std::lock_guard lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }
  std::set<TaskId> cancelled() {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  // Called on the lane's thread when a task is submitted.
  std::function<void(TaskId)> on_submit = [](TaskId) {};

  std::vector<DeviceDescription> describe() const override { return std::vector<DeviceDescription>(7); }
  Support supports(int, const CostKey&, const ModelShape&) const override { return {}; }
  Estimate estimate(int, const CostKey&, const ModelShape&) const override { return {}; }
  Result<Buffer> allocate(int, Bytes) override { return Error{ErrorCode::kDevice, "no memory"}; }
  void release(Buffer&) override {}
  Status transfer(int, MemoryRef, MemoryRef, Bytes) override { return {}; }

  Result<Ticket> submit(int, const Task& task, const Operands&) override {
    on_submit(task.id);
    switch (script_of(task.id)) {
      case Script::kAtOnce:
        return kDone;
      case Script::kFailSubmit:
        return Error{ErrorCode::kDevice, "queue is full"};
      default:
        return Ticket{task.id} + 1;
    }
  }

  Status wait(int, Ticket ticket, Duration deadline) override {
    const TaskId id = static_cast<TaskId>(ticket - 1);
    const Script script = script_of(id);
    if (script == Script::kLater) return {};
    if (script == Script::kFailWait) return Error{ErrorCode::kData, "checksum differs"};
    std::unique_lock lock(mutex_);
    const auto over = [&] { return script == Script::kIgnoreCancel ? let_go_ : cancelled_.contains(id); };
    const std::chrono::nanoseconds left((deadline - WallClock::instance().now()).ns);
    if (deadline == kForever) changed_.wait(lock, over);
    if (!changed_.wait_for(lock, left, over)) return Error{ErrorCode::kDeadline, "still running"};
    if (script == Script::kUntilCancel) return Error{ErrorCode::kCancelled, "stopped"};
    return {};
  }

  void cancel(int, Ticket ticket) override {
    const std::lock_guard lock(mutex_);
    cancelled_.insert(static_cast<TaskId>(ticket - 1));
    changed_.notify_all();
  }

 private:
  Script script_of(TaskId id) const {
    const auto it = scripts_.find(id);
    return it == scripts_.end() ? Script::kAtOnce : it->second;
  }
  std::map<TaskId, Script> scripts_;  // set before the run
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<TaskId> cancelled_;
  bool let_go_ = false;
};

class RecordingBinder final : public TaskBinder {
 public:
  std::set<TaskId> fail;                                // bind fails for these
  std::function<void(TaskId)> on_bind = [](TaskId) {};  // on the lane's thread
  std::map<TaskId, int> bound;                          // calls of bind
  std::map<TaskId, std::vector<TaskState>> ends;        // calls of ended
  std::vector<TaskId> order;                            // of the calls of ended

  Result<Operands> bind(const Task& task) override {
    on_bind(task.id);
    const std::lock_guard lock(mutex_);
    ++bound[task.id];
    if (fail.contains(task.id)) return Error{ErrorCode::kDevice, "no buffer"};
    return Operands{};
  }
  void ended(const Task& task, TaskState state) override {
    const std::lock_guard lock(mutex_);
    ends[task.id].push_back(state);
    order.push_back(task.id);
  }
  // Every bound task ended exactly once, and none that was not bound.
  bool balanced() const {
    if (bound.size() != ends.size()) return false;
    for (const auto& [id, calls] : bound)
      if (calls != 1 || !ends.contains(id) || ends.at(id).size() != 1) return false;
    return true;
  }

 private:
  std::mutex mutex_;
};

inline std::vector<TaskState> states(const RunReport& report) {
  std::vector<TaskState> all;
  for (const TaskTiming& timing : report.tasks) all.push_back(timing.state);
  return all;
}

}  // namespace tessera
