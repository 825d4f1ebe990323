// Answers questions about a plan and about what is resident.
#include "framework/plan.h"

#include <algorithm>
#include <array>

namespace tessera {

const ResidentShard* Residency::find(ShardId id) const {
  const auto it = std::lower_bound(shards.begin(), shards.end(), id,
                                   [](const ResidentShard& held, ShardId wanted) { return held.id < wanted; });
  return it != shards.end() && it->id == id ? &*it : nullptr;
}

Bytes Residency::total() const {
  Bytes sum;
  for (const ResidentShard& shard : shards) sum += shard.bytes;
  return sum;
}

Bytes Residency::charged_to(const Platform& platform, MemoryId memory) const {
  Bytes sum;
  for (const ResidentShard& shard : shards)
    if (platform.memory(shard.space) == memory) sum += shard.bytes;
  return sum;
}

bool serves(const Platform& platform, DeviceId device, const ResidentShard& held) {
  const SpaceId space = platform.space(device);
  return held.space == space || (held.space == kHostSpace && !held.decoded);
}

bool Plan::uses(const Platform& platform, const ResidentShard& held) const {
  if (held.id.layer >= depth || held.bits == kAbsent || bits_of(held.id) != held.bits) return false;
  const std::optional<int> part = part_of(held.id);
  return part && serves(platform, placement[held.id.layer][*part].device, held);
}

SpaceId Plan::space_of(const Platform& platform, ShardId id) const {
  return platform.space(placement[id.layer][*part_of(id)].device);
}

std::optional<int> Plan::part_of(ShardId id) const {
  const std::vector<LayerPart>& parts = placement[id.layer];
  for (size_t k = 0; k < parts.size(); ++k)
    if ((parts[k].slices >> id.slice & 1) != 0) return static_cast<int>(k);
  return std::nullopt;
}

SliceMask Plan::slice_set(int layer) const {
  SliceMask set = 0;
  for (int j = 0; j < slices; ++j)
    if (bits[static_cast<size_t>(layer) * slices + j] != kAbsent) set |= SliceMask{1} << j;
  return set;
}

int Plan::width() const {
  int widest = 0;
  for (int l = 0; l < depth; ++l) widest = std::max(widest, slice_count(slice_set(l)));
  return widest;
}

double Plan::mean_bits() const {
  int64_t sum = 0, present = 0;
  for (const Bits b : bits) {
    sum += b;
    present += b != kAbsent;
  }
  return present == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(present);
}

bool Plan::stays(const ResidentShard& held) const {
  return keep_unused && (held.id.layer >= depth || bits_of(held.id) == kAbsent);
}

std::vector<PlannedLoad> loads_for(const Platform& platform, const Residency& residency, const Plan& plan) {
  std::vector<PlannedLoad> loads;
  loads.reserve(2 * static_cast<size_t>(plan.depth) + 2);
  if (!plan.resumes_at) loads.push_back({Op::kLoadRows, -1, kAbsent, 0});
  for (int l = plan.resumes_at.value_or(0); l < plan.depth; ++l) {
    std::array<SliceMask, kBitsLevels> wanted{};
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bits bits = plan.bits_of(id);
      if (bits == kAbsent) continue;
      const ResidentShard* held = residency.shards.empty() ? nullptr : residency.find(id);
      if (held == nullptr || !plan.uses(platform, *held)) wanted[bits_level(bits)] |= SliceMask{1} << j;
    }
    for (int level = 1; level < kBitsLevels; ++level)
      if (wanted[level] != 0) loads.push_back({Op::kLoadShards, static_cast<int16_t>(l), level_bits(level), wanted[level]});
  }
  if (std::find(residency.exits.begin(), residency.exits.end(), plan.depth) == residency.exits.end())
    loads.push_back({Op::kLoadExit, static_cast<int16_t>(plan.depth - 1), kAbsent, 0});
  return loads;
}

}  // namespace tessera
