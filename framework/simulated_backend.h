// Pretends to be devices: tasks take the time that cost models say, in virtual time, and compute nothing.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "framework/backend.h"
#include "framework/clock.h"
#include "framework/cost_model.h"

namespace tessera {

struct SimulatedDevice {
  DeviceDescription description;
  std::unique_ptr<CostModel> costs;
};

// A device runs its tickets one after the other, each for its estimate's mean; wait moves the clock. Storage devices do
// loads, all others do computes; transfers move bytes for real, so that a round trip can be checked. Used by one thread, but
// allocate and release are safe from any.
class SimulatedBackend final : public Backend {
 public:
  // `clock` is shared by all that is simulated together; not owned.
  SimulatedBackend(VirtualClock* clock, std::vector<SimulatedDevice> devices);
  ~SimulatedBackend() override;

  std::vector<DeviceDescription> describe() const override;
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override;
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override;
  Result<Buffer> allocate(int device, Bytes bytes) override;
  void release(Buffer& buffer) override;
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override;
  Status wait(int device, Ticket ticket, Duration deadline) override;
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override;
  void cancel(int device, Ticket ticket) override;

 private:
  struct Running {
    Ticket ticket;
    Duration end;
    bool cancelled;
  };
  struct Device;
  VirtualClock* const clock_;
  std::vector<std::unique_ptr<Device>> devices_;
  Ticket last_ticket_ = kDone;
};

// Whether the reference lies in its buffer and holds `bytes`; false for host memory that is not addressable.
bool addressable(const MemoryRef& reference, Bytes bytes);

}  // namespace tessera
