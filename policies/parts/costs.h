// Answers how long parts of a plan take, by the view's cost oracle at the view's quantile.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "framework/policy.h"

namespace tessera {

// What a layer of a width and bitwidth takes, placed on several devices.
using PlacedLayer = std::function<Duration(int width, Bits bits)>;

// One device computes; or several, as `placed` says. Remembers what it was asked; lives as long as one decision, on its
// thread.
class Costs {
 public:
  Costs(const PlanningView& view, DeviceId device, PlacedLayer placed = {});
  // Whether what is held spares a load.
  bool spares_load(const ResidentShard& held) const;

  // Compute of one layer of `width` slices, all at `bits`, decoding included (STI's T_comp).
  Duration layer(int width, Bits bits);
  // One read of `count` slices at `bits`, `bytes` in all (STI's T_io where count is 1).
  Duration load(Bits bits, int count, int64_t bytes) const;
  Duration rows() const;  // load of the request's embedding and position rows
  Duration embed() const;
  Duration exit() const;
  Duration exit_load(int depth) const;

 private:
  Duration at(const CostKey& key) const;
  CostKey compute(Op op) const;

  const PlanningView& view_;
  const DeviceId device_;
  const PlacedLayer placed_;
  std::vector<std::array<Duration, kBitsLevels>> layers_;  // [M + 1]; negative: not asked yet
};

}  // namespace tessera
