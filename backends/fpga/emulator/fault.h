// Injects faults into the emulated device, for tests: TESSERA_EMULATOR_FAULT="kernel=matmul,at=3,do=hang".
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tessera::fpga {

// kHang: the compute unit never ends. kCrash: the device's process dies by a signal. kExit: it ends orderly. kStop: it stops
// (SIGSTOP). kSlow: takes 200 ms more. kSilent: the kernel ends without having run, its status word unset.
enum class FaultKind : uint8_t { kNone, kHang, kCrash, kExit, kStop, kSlow, kSilent };

struct Fault {
  FaultKind kind = FaultKind::kNone;
  std::string kernel;  // empty: any
  uint64_t at = 1;     // the call of that kernel, counted from 1; 0: each
  uint64_t life = 1;   // the device's process, counted from 1 for the first of a backend; 0: each
};

// A text that is no fault gives kNone and says so on stderr.
Fault parse_fault(std::string_view text);

// Counts the calls of kernels. next() is called by every compute unit's thread.
class FaultPlan {
 public:
  // `life`: which process of its backend this is.
  FaultPlan(Fault fault, uint64_t life) : fault_(std::move(fault)), here_(fault_.life == 0 || fault_.life == life) {}
  // What happens to this call.
  FaultKind next(std::string_view kernel) {
    if (!here_ || fault_.kind == FaultKind::kNone || (!fault_.kernel.empty() && fault_.kernel != kernel))
      return FaultKind::kNone;
    return ++seen_ == fault_.at || fault_.at == 0 ? fault_.kind : FaultKind::kNone;
  }

 private:
  Fault fault_;
  bool here_;
  std::atomic<uint64_t> seen_{0};
};

}  // namespace tessera::fpga
