// Turns chosen bits into a complete plan.
#include "policies/parts/assembly.h"

#include <algorithm>
#include <map>

#include "policies/parts/device_roles.h"

namespace tessera {
namespace {

ShardId shard(int layer, int slice) { return {static_cast<int16_t>(layer), static_cast<int16_t>(slice)}; }

// What is held as the plan computes with it; nullptr where it must be loaded.
const ResidentShard* resident(const PlanningView& view, const Residency& residency, const Plan& plan, ShardId id) {
  if (residency.shards.empty()) return nullptr;
  const ResidentShard* held = residency.find(id);
  return held != nullptr && plan.uses(view.platform, *held) ? held : nullptr;
}

// Whether a device's own memory has room for all that the plan computes there, with a fifth left for activations and for
// what changes from request to request.
bool holds_its_share(const PlanningView& view, const Plan& plan, SpaceId space) {
  int64_t bytes = 0;
  for (int l = 0; l < plan.depth; ++l)
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id = shard(l, j);
      if (plan.bits_of(id) != kAbsent && plan.space_of(view.platform, id) == space)
        bytes += view.shape.bytes_of(id, plan.bits_of(id)).n;
    }
  return bytes <= view.platform.memories[view.platform.memory(space)].capacity.n / 5 * 4;
}

}  // namespace

std::vector<Bits> uniform_bits(const ModelShape& shape, Size size, Bits bits) {
  std::vector<Bits> out(static_cast<size_t>(size.depth) * shape.slices, kAbsent);
  for (int l = 0; l < size.depth; ++l) std::fill_n(out.begin() + static_cast<ptrdiff_t>(l) * shape.slices, size.width, bits);
  return out;
}

std::vector<Bits> resident_bits(const PlanningView& view, const Residency& residency, Size size, Bits bits) {
  std::vector<Bits> out = uniform_bits(view.shape, size, bits);
  if (view.bits) return out;
  for (const ResidentShard& held : residency.shards)
    if (held.id.layer < size.depth && held.id.slice < size.width && view.shape.has_bits(held.bits))
      out[static_cast<size_t>(held.id.layer) * view.shape.slices + held.id.slice] = held.bits;
  return out;
}

std::optional<DeviceId> home_for(const PlanningView& view, DeviceId device) {
  const std::vector<DeviceId> homes = roles_of(view, 1, {}).homes;
  const bool itself = std::find(homes.begin(), homes.end(), device) != homes.end();
  if (itself && view.platform.space(device) == kHostSpace) return std::nullopt;
  if (homes.empty() || (itself && view.platform.space(homes.front()) != kHostSpace)) return std::nullopt;
  return homes.front();
}

Plan assemble(const PlanningView& view, const Residency& residency, DeviceId device, int depth, std::vector<Bits> bits) {
  Plan plan;
  plan.depth = depth;
  plan.slices = view.shape.slices;
  plan.bits = std::move(bits);
  plan.quantile = view.quantile;
  plan.placement.resize(depth);
  for (int l = 0; l < depth; ++l) plan.placement[l].push_back({device, plan.slice_set(l)});
  plan.home = home_for(view, device);
  list_loads(view, residency, plan);
  return plan;
}

void list_loads(const PlanningView& view, const Residency& residency, Plan& plan) {
  plan.loads = loads_for(view.platform, residency, plan);
}

void keep_bottom_up(const PlanningView& view, const Residency& residency, Plan& plan, size_t most, Bytes room) {
  plan.keep.clear();
  std::map<SpaceId, bool> roomy;  // of devices with a memory of their own
  size_t seen = 0;
  for (int l = 0; l < plan.depth; ++l) {
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id = shard(l, j);
      const Bits bits = plan.bits_of(id);
      if (bits == kAbsent) continue;
      const SpaceId space = plan.space_of(view.platform, id);
      if (view.platform.memory(space) != 0) {
        const auto [known, fresh] = roomy.try_emplace(space, false);
        if (fresh) known->second = holds_its_share(view, plan, space);
        if (known->second) plan.keep.push_back(id);
        continue;
      }
      const ResidentShard* held = resident(view, residency, plan, id);
      if (seen++ >= most && held == nullptr) continue;
      const Bytes bytes = held != nullptr && held->space == space ? held->bytes : view.shape.bytes_of(id, bits);
      if (bytes > room) continue;
      room -= bytes;
      plan.keep.push_back(id);
    }
  }
}

std::string to_string(Size size) { return std::to_string(size.depth) + "x" + std::to_string(size.width); }

}  // namespace tessera
