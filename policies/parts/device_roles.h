// Tells which of a request's devices may do what.
#pragma once

#include <vector>

#include "framework/policy.h"

namespace tessera {

// In the user's order.
struct DeviceRoles {
  std::vector<DeviceId> layers;  // may run whole layers
  std::vector<DeviceId> parts;   // may run parts of layers
  std::vector<DeviceId> homes;   // may embed, join parts and run exit heads; those that compute in host memory come first
};

// For layers of at most `width` slices, each at one of `bits`.
DeviceRoles roles_of(const PlanningView& view, int width, const std::vector<Bits>& bits);
bool runs_layers(const PlanningView& view, DeviceId device, int width, Bits bits);

// Of a plan: the bitwidths of its shards, ascending.
std::vector<Bits> bits_in(const std::vector<Bits>& plan_bits);

}  // namespace tessera
