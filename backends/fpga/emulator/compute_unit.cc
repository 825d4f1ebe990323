// Implements the AP_CTRL_HS handshake around a call of the compiled kernel.
#include "backends/fpga/emulator/compute_unit.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace tessera::fpga {
namespace {

constexpr uint32_t kStart = 1, kDone = 2, kIdle = 4;
constexpr auto kSlowness = std::chrono::milliseconds(200);  // FaultKind::kSlow

void* translate(void* memory, uint64_t address) { return static_cast<DeviceMemory*>(memory)->translate(address); }

}  // namespace

ComputeUnit::ComputeUnit(const hls::KernelEntry& kernel, uint64_t base, DeviceMemory& memory, FaultPlan& faults)
    : kernel_(kernel), base_(base), memory_(memory), faults_(faults), thread_([this] { work(); }) {}

ComputeUnit::~ComputeUnit() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return state_ != State::kRunning; });
    state_ = State::kQuit;
  }
  changed_.notify_all();
  thread_.join();
}

bool ComputeUnit::busy() {
  const std::lock_guard lock(mutex_);
  return state_ == State::kRunning;
}

void ComputeUnit::write(uint64_t offset, std::string_view data) {
  if (offset >= kImage || data.size() > kImage - offset) return;
  const std::lock_guard lock(mutex_);
  std::memcpy(registers_.data() + offset, data.data(), data.size());
  if (offset != 0 || data.empty() || (data[0] & kStart) == 0 || state_ == State::kRunning) return;
  state_ = State::kRunning;
  changed_.notify_all();
}

uint32_t ComputeUnit::read(uint64_t offset) {
  const std::lock_guard lock(mutex_);
  if (offset != 0) {
    uint32_t value = 0;
    if (offset <= kImage - sizeof value) std::memcpy(&value, registers_.data() + offset, sizeof value);
    return value;
  }
  if (state_ == State::kRunning) return kStart;
  const bool ended = state_ == State::kDone;
  if (ended) state_ = State::kIdle;
  return ended ? kDone | kIdle : kIdle;
}

void ComputeUnit::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return state_ == State::kRunning || state_ == State::kQuit; });
    if (state_ == State::kQuit) return;
    const auto arguments = registers_;
    lock.unlock();
    execute(arguments);
    lock.lock();
    state_ = State::kDone;
    changed_.notify_all();
  }
}

// A process that ends with exit() leaves XRT reading for ever; the ways to die here are what tests ask for.
void ComputeUnit::execute(const std::array<unsigned char, kImage>& arguments) {
  switch (faults_.next(kernel_.name)) {
    case FaultKind::kNone:
      break;
    case FaultKind::kHang:
      for (;;) ::pause();
    case FaultKind::kCrash:
      ::kill(::getpid(), SIGSEGV);
      break;
    case FaultKind::kExit:
      ::_exit(3);
    case FaultKind::kStop:
      ::kill(::getpid(), SIGSTOP);
      break;
    case FaultKind::kSlow:
      std::this_thread::sleep_for(kSlowness);
      break;
    case FaultKind::kSilent:
      return;
  }
  if (!kernel_.call(arguments.data(), &translate, &memory_))
    std::fprintf(stderr, "tessera device model: %s: an argument's address is in no buffer\n", kernel_.name);
}

}  // namespace tessera::fpga
