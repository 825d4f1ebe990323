// Reads with pread on a thread of its own, where the kernel refuses io_uring.
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <unistd.h>

#include "backends/storage/read_engine.h"
#include "framework/clock.h"

namespace tessera::storage {
namespace {

class PreadEngine final : public ReadEngine {
 public:
  PreadEngine() : thread_([this] { serve(); }) {}
  ~PreadEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  std::string_view name() const override { return "pread"; }

  void start(ReadOp* op) override {
    const std::lock_guard lock(mutex_);
    queued_.push_back(op);
  }

  void flush() override { wake_.notify_one(); }

  ReadOp* reap(Duration deadline) override {
    std::unique_lock lock(mutex_);
    while (ended_.empty()) {
      const Duration left = deadline - WallClock::instance().now();
      if (left.ns <= 0) return nullptr;
      done_.wait_for(lock, std::chrono::nanoseconds(left.ns));
    }
    ReadOp* op = ended_.front();
    ended_.pop_front();
    return op;
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stop_ || !queued_.empty(); });
      if (stop_) return;
      ReadOp* op = queued_.front();
      queued_.pop_front();
      lock.unlock();
      const ssize_t got = ::pread(op->fd, op->to, static_cast<size_t>(op->length), op->offset);
      op->result = got < 0 ? -errno : got;
      lock.lock();
      ended_.push_back(op);
      done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<ReadOp*> queued_, ended_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<ReadEngine> make_pread_engine() { return std::make_unique<PreadEngine>(); }

}  // namespace tessera::storage
