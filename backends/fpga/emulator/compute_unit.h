// Runs one compute unit: its control registers as XRT sees them, and the thread that computes.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>

#include "backends/fpga/emulator/device_memory.h"
#include "backends/fpga/emulator/fault.h"
#include "backends/fpga/emulator/kernel_library.h"

namespace tessera::fpga {

// Registers are written and read by the answering thread, which never computes.
class ComputeUnit {
 public:
  ComputeUnit(const hls::KernelEntry& kernel, uint64_t base, DeviceMemory& memory, FaultPlan& faults);
  // Ends the thread; a kernel that is running must have ended (the process exits instead of waiting for one that hangs).
  ~ComputeUnit();
  ComputeUnit(const ComputeUnit&) = delete;
  ComputeUnit& operator=(const ComputeUnit&) = delete;

  static constexpr uint64_t kRange = 0x10000;  // of its registers
  static constexpr size_t kImage = 1024;       // bytes of them that hold arguments
  uint64_t base() const { return base_; }
  bool busy();
  // A write to the control word starts the kernel where AP_START is set and it is not running.
  void write(uint64_t offset, std::string_view data);
  // The control word: start while running; done and idle once it has ended, done only the first time.
  uint32_t read(uint64_t offset);

 private:
  enum class State { kIdle, kRunning, kDone, kQuit };
  void work();
  void execute(const std::array<unsigned char, kImage>& arguments);

  const hls::KernelEntry& kernel_;
  const uint64_t base_;
  DeviceMemory& memory_;
  FaultPlan& faults_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::kIdle;
  std::array<unsigned char, kImage> registers_{};
  std::thread thread_;  // last: uses the others
};

}  // namespace tessera::fpga
