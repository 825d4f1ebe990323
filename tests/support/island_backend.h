// Makes a device with buffers of its own out of one that computes in host memory: what a GPU is to the scheduler, with the
// arithmetic of the device within, so that answers can be compared bit by bit.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "framework/backend.h"

namespace tessera::testing {

struct IslandKind {
  std::string name = "island0";
  bool link = true;           // a copy engine of its own: "island0.link"
  bool host_visible = false;  // loads go straight in
  bool shared = false;        // charged to the host's memory
  Bytes capacity = kUnlimited;
};

// Device 0 computes, device 1 is its link. Host memory that is not one of its buffers' is refused as an operand, and its
// buffers have no address that the host could use, unless host_visible.
class IslandBackend final : public Backend {
 public:
  IslandBackend(std::unique_ptr<Backend> inner, IslandKind kind);
  ~IslandBackend() override;
  std::vector<DeviceDescription> describe() const override;
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override;
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override;
  Result<Buffer> allocate(int device, Bytes bytes) override;
  void release(Buffer& buffer) override;
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override;
  Status wait(int device, Ticket ticket, Duration deadline) override;
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override;
  void cancel(int device, Ticket ticket) override;

  int64_t allocated() const { return allocated_; }  // bytes that nobody released

 private:
  struct Translated;  // operands as the inner device sees them
  // The island's buffer at its address; a host's as it is, where `host` allows that.
  Result<MemoryRef> reach(const MemoryRef& from, bool host, Translated& into) const;
  Status translate(const Operands& from, Translated& into) const;

  const std::unique_ptr<Backend> inner_;
  const IslandKind kind_;
  std::mutex mutex_;
  std::map<Ticket, std::unique_ptr<Translated>> running_;
  std::map<std::byte*, int64_t> buffers_;
  int64_t allocated_ = 0;
};

}  // namespace tessera::testing
