// Turns chosen bits into a complete plan.
#include "policies/parts/assembly.h"

#include <algorithm>
#include <array>

namespace tessera {
namespace {

ShardId shard(int layer, int slice) { return {static_cast<int16_t>(layer), static_cast<int16_t>(slice)}; }

bool is_resident(const Residency& residency, ShardId id, Bits bits) {
  const ResidentShard* held = residency.find(id);
  return held != nullptr && held->bits == bits;
}

void add_layer_loads(const Residency& residency, Plan& plan, int layer) {
  std::array<SliceMask, kBitsLevels> wanted{};
  for (int j = 0; j < plan.slices; ++j) {
    const Bits bits = plan.bits_of(shard(layer, j));
    if (bits == kAbsent || (!residency.shards.empty() && is_resident(residency, shard(layer, j), bits))) continue;
    wanted[bits_level(bits)] |= SliceMask{1} << j;
  }
  for (int level = 1; level < kBitsLevels; ++level)
    if (wanted[level] != 0)
      plan.loads.push_back({Op::kLoadShards, static_cast<int16_t>(layer), level_bits(level), wanted[level]});
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

Plan assemble(const PlanningView& view, const Residency& residency, DeviceId device, int depth, std::vector<Bits> bits) {
  Plan plan;
  plan.depth = depth;
  plan.slices = view.shape.slices;
  plan.bits = std::move(bits);
  plan.quantile = view.quantile;
  plan.placement.resize(depth);
  plan.loads.reserve(2 * static_cast<size_t>(depth) + 2);
  plan.loads.push_back({Op::kLoadRows, -1, kAbsent, 0});
  for (int l = 0; l < depth; ++l) {
    plan.placement[l].push_back({device, plan.slice_set(l)});
    add_layer_loads(residency, plan, l);
  }
  if (std::find(residency.exits.begin(), residency.exits.end(), depth) == residency.exits.end())
    plan.loads.push_back({Op::kLoadExit, static_cast<int16_t>(depth - 1), kAbsent, 0});
  return plan;
}

void keep_bottom_up(const PlanningView& view, const Residency& residency, Plan& plan, size_t most, Bytes room) {
  plan.keep.clear();
  size_t seen = 0;
  for (int l = 0; l < plan.depth; ++l) {
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id = shard(l, j);
      const Bits bits = plan.bits_of(id);
      if (bits == kAbsent) continue;
      const bool resident = is_resident(residency, id, bits);
      if (seen++ >= most && !resident) continue;
      const Bytes bytes = resident ? residency.find(id)->bytes : view.shape.bytes_of(id, bits);
      if (bytes > room) continue;
      room -= bytes;
      plan.keep.push_back(id);
    }
  }
}

std::string to_string(Size size) { return std::to_string(size.depth) + "x" + std::to_string(size.width); }

}  // namespace tessera
