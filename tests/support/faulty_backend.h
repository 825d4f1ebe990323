// Forwards to a backend, and injects a fault at the k-th task: fails, hangs until released, is slow, or is given operands of
// the wrong size.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "framework/backend.h"
#include "framework/clock.h"

namespace tessera::testing {

// kStalls: ends as a failure once it is cancelled; what is hit after it fails at once.
enum class Fault { kNone, kRefuses, kFails, kHangs, kStalls, kSlow, kWrongSize, kStrikes };

struct Injection {
  Fault fault = Fault::kNone;
  int device = 0;                  // of the backend
  int at = 0;                      // the task that it hits, counted on that device from 0
  bool for_good = false;           // and all after it
  std::function<void()> strike{};  // of kStrikes: called once the task was handed over
};

// Tickets of hanging tasks end when released, as failures. Safe from any thread.
class FaultyBackend final : public Backend {
 public:
  explicit FaultyBackend(Backend* inner) : inner_(inner) {}
  void inject(const Injection& injection);
  void release_hanging();
  int hits() const { return hits_; }
  // So many allocations succeed from now on.
  void allow_allocations(int count) { allocations_left_ = count; }

  std::vector<DeviceDescription> describe() const override { return inner_->describe(); }
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override {
    return inner_->supports(device, key, shape);
  }
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override {
    return inner_->estimate(device, key, shape);
  }
  Result<Buffer> allocate(int device, Bytes bytes) override;
  void release(Buffer& buffer) override { inner_->release(buffer); }
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override;
  Status wait(int device, Ticket ticket, Duration deadline) override;
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override {
    return inner_->transfer(device, to, from, bytes);
  }
  void cancel(int device, Ticket ticket) override;

 private:
  static constexpr Ticket kOurs = Ticket{1} << 62;  // tickets that are not the inner backend's
  struct Slow {
    Ticket inner = kDone;
    Duration until;  // nothing is said of the end before
    bool cancelled = false;
  };
  bool hit(int device);
  Result<Ticket> submit_wrong(int device, const Task& task, const Operands& operands);
  Status wait_hanging(Ticket ticket, Duration deadline);
  Status wait_slow(int device, Ticket ticket, Duration deadline);

  Backend* const inner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Injection injection_;
  int seen_ = 0;
  std::atomic<int> hits_{0}, allocations_left_{INT32_MAX};
  Ticket last_ = kOurs;
  std::set<Ticket> failing_, hanging_;
  std::map<Ticket, Slow> slow_;
  uint64_t released_ = 0;
};

}  // namespace tessera::testing
