// Executes graphs on real devices: keeps a thread per device beyond the caller's and hands the lanes to them.
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "framework/executor.h"
#include "framework/wall_run.h"

namespace tessera {
namespace {

class WallExecutor final : public Executor {
 public:
  explicit WallExecutor(std::vector<DeviceBinding> devices) {
    devices_.resize(devices.size());
    for (size_t d = 0; d < devices.size(); ++d) devices_[d].binding = devices[d];
  }

  ~WallExecutor() override {
    {
      const std::lock_guard lock(mutex_);
      quit_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    for (WallDevice& device : devices_) {
      ask_again(device);
      // What a device still uses is never freed; there is no one left who could wait for it.
      for (Abandoned& busy : device.abandoned) static_cast<void>(busy.work.release());
    }
  }

  RunReport run(const TaskGraph& graph, TaskBinder* binder, const RunLimits& limits) override {
    if (Status usable = check(graph); !usable.ok()) return refuse(graph, usable);
    for (WallDevice& device : devices_) ask_again(device);
    WallRun state(graph, binder, limits, devices_);
    if (graph.size() == 0) return state.take_report();

    // The caller runs the lane of the last task, so that the answer needs no further hand-over between threads.
    const DeviceId own = graph.task(static_cast<TaskId>(graph.size() - 1)).cost.device;
    std::vector<DeviceId> others;
    for (int d = 0; d < graph.device_count(); ++d)
      if (d != own && !graph.lane(static_cast<DeviceId>(d)).empty()) others.push_back(static_cast<DeviceId>(d));
    if (Status started = start_threads(others.size()); !started.ok()) return refuse(graph, started);
    if (limits.watch != nullptr) limits.watch->began(state);
    hand_out(state, others);
    state.help(own, true);
    std::unique_lock lock(mutex_);
    waiting_.clear();  // whoever has not come yet need not come
    idle_.wait(lock, [this] { return busy_ == 0; });
    lock.unlock();
    if (limits.watch != nullptr) limits.watch->finished();
    return state.take_report();
  }

  bool busy(DeviceId device) override {
    if (device >= devices_.size()) return false;
    ask_again(devices_[device]);
    return !devices_[device].abandoned.empty();
  }

 private:
  Status check(const TaskGraph& graph) const {
    for (int d = 0; d < graph.device_count(); ++d) {
      if (graph.lane(static_cast<DeviceId>(d)).empty()) continue;
      if (static_cast<size_t>(d) >= devices_.size() || devices_[d].binding.backend == nullptr)
        return Error{ErrorCode::kInvalid, "task graph uses device " + std::to_string(d) + ", which no backend drives (" +
                                              std::to_string(devices_.size()) + " devices); bind one"};
    }
    return {};
  }

  static RunReport refuse(const TaskGraph& graph, const Status& why) {
    RunReport report;
    report.status = why;
    report.tasks.assign(graph.size(), {{}, {}, TaskState::kCancelled});
    return report;
  }

  // A device that was given up comes back once its tickets have ended.
  static void ask_again(WallDevice& device) {
    std::erase_if(device.abandoned, [&](const Abandoned& busy) {
      const Status status = device.binding.backend->wait(device.binding.device, busy.ticket, WallClock::instance().now());
      return status.ok() || status.error().code != ErrorCode::kDeadline;
    });
  }

  Status start_threads(size_t count) {
    try {
      while (threads_.size() < count) threads_.emplace_back([this] { serve(); });
    } catch (const std::system_error& error) {
      return Error{ErrorCode::kInternal, "executor: cannot start thread " + std::to_string(threads_.size() + 1) + " of " +
                                             std::to_string(count) + ": " + error.what()};
    }
    return {};
  }

  void hand_out(WallRun& state, const std::vector<DeviceId>& devices) {
    if (devices.empty()) return;
    const std::lock_guard lock(mutex_);
    run_ = &state;
    waiting_ = devices;
    work_.notify_all();
  }

  // A lane thread: joins each run that has a lane for it.
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return quit_ || !waiting_.empty(); });
      if (quit_) return;
      const DeviceId first = waiting_.back();
      waiting_.pop_back();
      ++busy_;
      WallRun* const run = run_;
      lock.unlock();
      run->help(first, false);
      lock.lock();
      if (--busy_ == 0) idle_.notify_one();
    }
  }

  std::vector<WallDevice> devices_;
  std::vector<std::thread> threads_;  // started when first needed
  std::mutex mutex_;                  // guards all below
  std::condition_variable work_, idle_;
  WallRun* run_ = nullptr;
  std::vector<DeviceId> waiting_;  // lanes that no thread began with yet
  size_t busy_ = 0;                // threads in the run
  bool quit_ = false;
};

}  // namespace

std::unique_ptr<Executor> make_wall_executor(std::vector<DeviceBinding> devices) {
  return std::make_unique<WallExecutor>(std::move(devices));
}

}  // namespace tessera
