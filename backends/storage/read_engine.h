// Reads pieces of files asynchronously: what io_uring and the pread thread have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "framework/result.h"
#include "framework/units.h"

namespace tessera::storage {

// One read. Owned by the caller, who keeps it (and `to`) alive until reap() has returned it.
struct ReadOp {
  int fd = -1;
  int64_t offset = 0;
  int64_t length = 0;
  std::byte* to = nullptr;
  int64_t result = 0;  // bytes read, or -errno
};

// Used by one thread at a time.
class ReadEngine {
 public:
  virtual ~ReadEngine() = default;
  virtual std::string_view name() const = 0;
  // Queues a read; at most kMostReads may be between start and reap.
  virtual void start(ReadOp* op) = 0;
  // Hands what was started to the kernel.
  virtual void flush() = 0;
  // The next read that has ended; nullptr where none has by `deadline` (WallClock). A deadline in the past only looks.
  virtual ReadOp* reap(Duration deadline) = 0;
};
inline constexpr int kMostReads = 64;

// kUnavailable where the kernel refuses io_uring (ENOSYS, EPERM, too old): says which.
Result<std::unique_ptr<ReadEngine>> make_uring_engine();
// Plain pread on a thread of its own, one read at a time.
std::unique_ptr<ReadEngine> make_pread_engine();

}  // namespace tessera::storage
