// Assembles plans: from bits to loads, placement and what is kept.
#pragma once

#include <optional>
#include <vector>

#include "framework/policy.h"

namespace tessera {

struct Size {
  int depth = 0;
  int width = 0;
  bool operator==(const Size&) const = default;
};

// Bits of the first `width` slices of the first `depth` layers, all at `bits`: [depth][M].
std::vector<Bits> uniform_bits(const ModelShape& shape, Size size, Bits bits);
// The same, but what is resident is taken as it is held (unless its bitwidth was given by hand or left the store).
std::vector<Bits> resident_bits(const PlanningView& view, const Residency& residency, Size size, Bits bits);

// Who embeds and runs the exit head where one device runs the layers; nothing: that device. The first of the user's order
// that computes in host memory and supports it, where the device has buffers of its own; else whoever supports it.
std::optional<DeviceId> home_for(const PlanningView& view, DeviceId device);

// The plan that runs `bits` on one device (embedding and exit head at home_for() it): rows first, then each layer's loads,
// one a bitwidth, lowest first, then the exit head; what is resident at the plan's bits is not loaded. Nothing is kept.
// Predicted and explain are left empty.
Plan assemble(const PlanningView& view, const Residency& residency, DeviceId device, int depth, std::vector<Bits> bits);

// Lists the plan's loads anew, in the same order, for its placement.
void list_loads(const PlanningView& view, const Residency& residency, Plan& plan);

// Keeps the plan's first `most` shards, bottom layers first, as far as they fit in `room`; then residents that it uses. What
// lies in a device's own memory costs no room: all of it stays there if it fits.
void keep_bottom_up(const PlanningView& view, const Residency& residency, Plan& plan, size_t most, Bytes room);

// "3x4"
std::string to_string(Size size);

}  // namespace tessera
