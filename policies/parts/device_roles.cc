// Asks the view what each device supports.
#include "policies/parts/device_roles.h"

#include <algorithm>
#include <array>

namespace tessera {
namespace {

bool runs(const PlanningView& view, Op op, DeviceId device, int slices, Bits bits) {
  if (!view.supports) return true;
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(view.tokens);
  key.slices = static_cast<uint8_t>(slices);
  if (bits != kAbsent) key.bits[bits_level(bits)] = key.slices;
  return view.supports(key);
}

bool is_home(const PlanningView& view, DeviceId device) {
  for (const Op op : {Op::kEmbed, Op::kCombine, Op::kExit})
    if (!runs(view, op, device, 0, kAbsent)) return false;
  return true;
}

}  // namespace

bool runs_layers(const PlanningView& view, DeviceId device, int width, Bits bits) {
  return runs(view, Op::kLayer, device, width, bits);
}

DeviceRoles roles_of(const PlanningView& view, int width, const std::vector<Bits>& bits) {
  DeviceRoles out;
  const auto all = [&](Op op, DeviceId device) {
    return std::all_of(bits.begin(), bits.end(), [&](Bits b) { return runs(view, op, device, width, b); });
  };
  for (const DeviceId device : view.compute_devices) {
    if (all(Op::kLayer, device)) out.layers.push_back(device);
    if (all(Op::kAttentionPart, device) && all(Op::kFfnPart, device)) out.parts.push_back(device);
    if (is_home(view, device)) out.homes.push_back(device);
  }
  std::stable_partition(out.homes.begin(), out.homes.end(),
                        [&](DeviceId device) { return view.platform.space(device) == kHostSpace; });
  return out;
}

std::vector<Bits> bits_in(const std::vector<Bits>& plan_bits) {
  std::array<bool, kBitsLevels> seen{};
  for (const Bits bits : plan_bits) seen[bits_level(bits)] = true;
  std::vector<Bits> out;
  for (int level = 1; level < kBitsLevels; ++level)
    if (seen[level]) out.push_back(level_bits(level));
  return out;
}

}  // namespace tessera
