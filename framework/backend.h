// The contract of a backend: what it is, what it can do, what that costs; and it does it asynchronously.
//
// Life of a backend, and the thread of each call:
//   1. created by its registered factory on the caller's thread; must be cheap (vendor libraries open on first use)
//   2. describe()                  any thread. A device that is not here is listed with available = false and its reason.
//   3. supports / estimate         any thread, before anything is created
//   4. allocate / release          any thread. Accounting is the caller's; a backend only refuses what it cannot hold.
//   5. submit, then wait           one thread at a time per device (the device's lane). submit returns at once; wait may
//                                  block and always returns by its deadline. Operands stay valid until wait says done.
//   6. destroyed after every ticket was waited for, but for those that never ended
// A new backend starts as a copy of backends/null; the conformance suite tells when it is right.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
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
  // Optional. Measures which of its own parameters (tiles, local sizes) suit the device for this shape, takes them up and
  // returns them as text that only this backend reads; calibration keeps it. Empty: nothing to tune. Blocking, seconds at
  // most; while no ticket of the device is running.
  virtual Result<std::string> tune(int /*device*/, const ModelShape& /*shape*/) { return std::string(); }
  // Optional. Takes up what `tune` returned earlier, for the same device and driver. kInvalid: not such a text; nothing
  // changes. Called before the first submit, or while no ticket of the device is running.
  virtual Status set_tuning(int /*device*/, std::string_view /*text*/) { return {}; }
  // Optional. How long a ticket that wait said done ran, by the device's own clock; asked right after wait, on its thread.
  // nullopt: not known or not credible (zero, negative, longer than the wall clock saw); use the host's.
  virtual std::optional<Duration> measured(int /*device*/, Ticket /*ticket*/) { return std::nullopt; }
};

}  // namespace tessera
