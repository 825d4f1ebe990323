// Runs the life of workers on one thread, which they see die if the process does.
#include "backends/fpga/keeper.h"

#include <array>
#include <cerrno>
#include <chrono>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace tessera::fpga {
namespace {

using std::chrono::milliseconds, std::chrono::seconds, std::chrono::steady_clock;

constexpr seconds kOpenLimit{20};  // 5 to 120 ms measured, sanitizers and a busy machine included: not seconds
constexpr seconds kQuitLimit{2};   // for a worker that is asked to leave
constexpr seconds kReapLimit{5};   // for a kill to take effect
constexpr milliseconds kLongLived{1000};

}  // namespace

Keeper::Keeper(WorkerPlan plan)
    : plan_(std::move(plan)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

Keeper::~Keeper() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  wake();
  thread_.join();
  ::close(wake_);
}

void Keeper::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

int Keeper::pid() const {
  const std::lock_guard lock(mutex_);
  return current_ == nullptr ? 0 : current_->pid();
}

std::shared_ptr<WorkerProcess> Keeper::running() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

Result<std::shared_ptr<WorkerProcess>> Keeper::worker(Moment deadline) {
  std::unique_lock lock(mutex_);
  // One that has died is of no use, even before watch() has seen it.
  const std::shared_ptr<WorkerProcess> dead = current_ != nullptr && current_->has_ended() ? current_ : nullptr;
  if (dead != nullptr) changed_.wait_until(lock, deadline, [&] { return current_ != dead || stop_; });
  if (current_ != nullptr) return current_;
  wanted_ = true;
  changed_.notify_all();
  const uint64_t before = failures_;
  if (!changed_.wait_until(lock, deadline, [&] { return current_ != nullptr || failures_ != before || stop_; }))
    return Error{ErrorCode::kDevice, "device " + plan_.device + ": its worker does not start in time"};
  if (current_ == nullptr) return failure_;
  return current_;
}

void Keeper::give_up(const WorkerProcess& worker, const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (current_.get() != &worker) return;
  blame_ = why;
  worker.kill();
}

std::string Keeper::cause(const WorkerProcess& worker) {
  std::unique_lock lock(mutex_);
  const bool known =
      changed_.wait_for(lock, kReapLimit, [&] { return current_.get() != &worker && ended_life_ >= worker.life(); });
  return known && ended_life_ == worker.life() ? ended_cause_ : "its worker was lost";
}

void Keeper::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || wanted_; });
      if (stop_) return;
      wanted_ = false;
    }
    start();
    watch();
  }
}

void Keeper::start() {
  auto started = WorkerProcess::start(plan_, lives_ + 1, steady_clock::now() + kOpenLimit);
  {
    const std::lock_guard lock(mutex_);
    ++lives_;
    blame_.clear();
    if (started.ok()) {
      current_ = started.take();
    } else {
      failure_ = started.error();
      ++failures_;
    }
  }
  changed_.notify_all();
}

// Until the worker has ended, or the keeper is to stop.
void Keeper::watch() {
  const std::shared_ptr<WorkerProcess> worker = current_;  // only this thread changes it
  if (worker == nullptr) return;
  const auto since = steady_clock::now();
  std::array<pollfd, 2> ends = {{{worker->handle(), POLLIN, 0}, {wake_, POLLIN, 0}}};
  while (::poll(ends.data(), ends.size(), -1) < 0 && errno == EINTR) {}
  if ((ends[0].revents & POLLIN) == 0) {  // to stop: ask it to leave
    Request quit;
    quit.call = Call::kQuit;
    Reply reply;
    if (worker->call(kControlChannel, quit, -1, steady_clock::now() + kQuitLimit, &reply) != Passage::kOk) worker->kill();
    pollfd left = {worker->handle(), POLLIN, 0};
    if (::poll(&left, 1, static_cast<int>(milliseconds(kQuitLimit).count())) <= 0) worker->kill();
  }
  const std::string how = worker->end();
  {
    const std::lock_guard lock(mutex_);
    ended_life_ = worker->life();
    ended_cause_ = blame_.empty() ? how : blame_;
    current_ = nullptr;
    wanted_ = wanted_ || steady_clock::now() - since > kLongLived;
  }
  changed_.notify_all();
}

}  // namespace tessera::fpga
