// The contract of a backend: what it is, what it can do, what that costs; and it does it asynchronously.
//
// Life of a backend, and the thread of each call:
//   1. created by its registered factory on the caller's thread; must be cheap (vendor libraries open on first use)
//   2. describe()                  any thread. A device that is not here is listed with available = false and its reason.
//   3. supports / estimate         any thread, before anything is created
//   4. allocate / release          any thread. Accounting is the caller's; a backend only refuses what it cannot hold.
//   5. submit, then wait           one thread at a time per device (the device's lane). submit returns at once; wait may
//                                  block and always returns by its deadline. Operands stay valid until wait says done.
//   6. destroyed after every ticket was waited for
// A new backend starts as a copy of backends/null; the conformance suite tells when it is right.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "framework/estimate.h"
#include "framework/operands.h"
#include "framework/platform.h"
#include "framework/result.h"

namespace tessera {

// Names submitted work of one device. 0: the work is already done.
using Ticket = uint64_t;
inline constexpr Ticket kDone = 0;

struct Support {
  bool yes = true;
  std::string why;  // where not: what is missing, by name and number
};

class Backend {
 public:
  virtual ~Backend() = default;

  // The devices, index = `device` of the calls below. Stable for the backend's life.
  virtual std::vector<DeviceDescription> describe() const = 0;
  // Whether the device can run tasks of this key for this shape. No silent fallback: a "no" stays a "no".
  virtual Support supports(int device, const CostKey& key, const ModelShape& shape) const = 0;
  // Uncalibrated cost from the device's own figures. Truthful about workspace.
  virtual Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const = 0;
  // Memory of the device, aligned to 4096. kDevice or kInfeasible where it cannot be had.
  virtual Result<Buffer> allocate(int device, Bytes bytes) = 0;
  virtual void release(Buffer& buffer) = 0;
  // Starts the task. `task` and `operands` stay valid until wait says done. An error means that nothing was started.
  virtual Result<Ticket> submit(int device, const Task& task, const Operands& operands) = 0;
  // Waits for a ticket until `deadline` (WallClock time; VirtualClock's for simulated devices).
  // ok: done. kDeadline: still running, may be waited for again. Any other error: the task failed and has ended.
  virtual Status wait(int device, Ticket ticket, Duration deadline) = 0;
  // Copies between a device's buffer and host memory, blocking. For set-up and tests; requests use Transfer tasks.
  virtual Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) = 0;

  // Optional. Tries to stop a running ticket; wait must still be called.
  virtual void cancel(int /*device*/, Ticket /*ticket*/) {}
};

}  // namespace tessera
