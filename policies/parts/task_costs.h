// Answers how long each task of a plan takes, on any of the request's devices, at the view's quantile.
#pragma once

#include <array>
#include <unordered_map>

#include "framework/policy.h"

namespace tessera {

// A duration of an estimate at a quantile, within what no budget reaches and what sums over all layers cannot overflow.
Duration planned_duration(const Estimate& estimate, double quantile);

// Remembers what it was asked. Lives as long as one decision, on its thread.
class TaskCosts {
 public:
  explicit TaskCosts(const PlanningView& view) : view_(view) {}
  const PlanningView& view() const { return view_; }

  // kLayer, kAttentionPart or kFfnPart over slices with such bits.
  Duration part(Op op, DeviceId device, const BitsHistogram& bits, bool decoded);
  Duration part(Op op, DeviceId device, int slices, Bits bits);
  Duration embed(DeviceId device);
  Duration exit(DeviceId device);
  Duration combine(DeviceId device, Op half);
  // Activations between host memory and a device's own buffers, on the device's lane.
  Duration move(DeviceId device, Payload payload, bool to_host);
  // Coded slices from host memory into a device's own buffers, on its link.
  Duration take_over(DeviceId device, int slices, int64_t bytes);
  Duration load(Bits bits, int slices, int64_t bytes);
  Duration load_rows();
  int64_t rows_bytes() const;
  Duration load_exit(int depth);
  // Bytes of an activation.
  int64_t bytes_of(Payload payload) const;

 private:
  using Packed = std::array<uint64_t, 4>;
  struct Hash {
    size_t operator()(const Packed& key) const;
  };
  Duration at(const CostKey& key);
  int64_t row_blocks() const;
  CostKey key(Op op, DeviceId device) const;

  const PlanningView& view_;
  std::unordered_map<Packed, Duration, Hash> known_;
};

}  // namespace tessera
