// Changes one choice of a plan, and lists its loads anew.
#include "scheduler/neighbour_plan.h"

#include <algorithm>
#include <array>

#include "scheduler/takeover.h"

namespace tessera {
namespace {

bool same(const PlannedLoad& a, const PlannedLoad& b) {
  return a.op == b.op && a.bits == b.bits && a.slices == b.slices && (a.op != Op::kLoadShards || a.layer == b.layer);
}

bool in_usual_order(const Platform& platform, const Residency& residency, const Plan& plan) {
  const std::vector<PlannedLoad> usual = loads_for(platform, residency, plan);
  return std::equal(usual.begin(), usual.end(), plan.loads.begin(), plan.loads.end(), same);
}

// What a changed plan must load, by layer and bits level.
using Wanted = std::vector<std::array<SliceMask, kBitsLevels>>;

Wanted wanted_by(const std::vector<PlannedLoad>& loads, int depth) {
  Wanted wanted(static_cast<size_t>(depth));
  for (const PlannedLoad& load : loads)
    if (load.op == Op::kLoadShards) wanted[load.layer][bits_level(load.bits)] |= load.slices;
  return wanted;
}

// The old loads, each left with what is still wanted of it; nothing is left out that was not of shards. A load that lost all
// stays, empty, to mark its place.
std::vector<PlannedLoad> still_wanted(const std::vector<PlannedLoad>& loads, Wanted& wanted) {
  std::vector<PlannedLoad> out;
  for (PlannedLoad load : loads) {
    if (load.op == Op::kLoadShards) {
      if (load.layer >= static_cast<int>(wanted.size())) continue;
      SliceMask& here = wanted[load.layer][bits_level(load.bits)];
      load.slices &= here;
      here &= ~load.slices;
    }
    out.push_back(load);
  }
  return out;
}

// Behind the layer's last load (whose place an empty one marks), else before the first of a later layer, else before the
// exit head at the end.
std::vector<PlannedLoad>::iterator place_for(std::vector<PlannedLoad>& loads, int layer) {
  const auto of_layer = [&](const PlannedLoad& load) { return load.op == Op::kLoadShards && load.layer == layer; };
  const auto behind = std::find_if(loads.rbegin(), loads.rend(), of_layer);
  if (behind != loads.rend()) return behind.base();
  const auto later = [&](const PlannedLoad& load) { return load.op == Op::kLoadShards && load.layer > layer; };
  const auto before = std::find_if(loads.begin(), loads.end(), later);
  if (before != loads.end()) return before;
  return !loads.empty() && loads.back().op == Op::kLoadExit ? loads.end() - 1 : loads.end();
}

void add_missing(std::vector<PlannedLoad>& loads, int layer, Bits bits, SliceMask slices) {
  for (PlannedLoad& load : loads)
    if (load.op == Op::kLoadShards && load.layer == layer && load.bits == bits && load.slices != 0) {
      load.slices |= slices;
      return;
    }
  for (PlannedLoad& load : loads)  // where the shard's old load stood
    if (load.op == Op::kLoadShards && load.layer == layer && load.slices == 0) {
      load = {Op::kLoadShards, static_cast<int16_t>(layer), bits, slices};
      return;
    }
  loads.insert(place_for(loads, layer), {Op::kLoadShards, static_cast<int16_t>(layer), bits, slices});
}

// Lists the loads of `out`, a changed `before`.
Plan settled(const Platform& platform, const Residency& residency, const Plan& before, Plan out) {
  out.explain.clear();
  out.loss_bound.reset();
  const std::vector<PlannedLoad> usual = loads_for(platform, residency, out);
  if (in_usual_order(platform, residency, before)) {
    out.loads = usual;
    return out;
  }
  Wanted wanted = wanted_by(usual, out.depth);
  out.loads = still_wanted(before.loads, wanted);
  for (int l = 0; l < out.depth; ++l)
    for (int level = 1; level < kBitsLevels; ++level)
      if (const SliceMask missing = wanted[l][level]; missing != 0) add_missing(out.loads, l, level_bits(level), missing);
  std::erase_if(out.loads, [](const PlannedLoad& load) { return load.op == Op::kLoadShards && load.slices == 0; });
  const auto is_exit = [](const PlannedLoad& load) { return load.op == Op::kLoadExit; };
  std::erase_if(out.loads,
                [&](const PlannedLoad& load) { return is_exit(load) && !std::any_of(usual.begin(), usual.end(), is_exit); });
  if (std::any_of(usual.begin(), usual.end(), is_exit) && std::none_of(out.loads.begin(), out.loads.end(), is_exit))
    out.loads.push_back(usual.back());
  return out;
}

}  // namespace

Plan with_bits(const Platform& platform, const Residency& residency, const Plan& plan, ShardId id, Bits bits, int part) {
  Plan out = plan;
  const SliceMask bit = SliceMask{1} << id.slice;
  const bool was_absent = plan.bits_of(id) == kAbsent;
  std::vector<LayerPart>& parts = out.placement[id.layer];
  out.bits[static_cast<size_t>(id.layer) * plan.slices + id.slice] = bits;
  if (bits == kAbsent) {
    for (LayerPart& p : parts) p.slices &= ~bit;
    std::erase_if(parts, [](const LayerPart& p) { return p.slices == 0; });
    std::erase(out.keep, id);
  } else if (was_absent) {
    parts[static_cast<size_t>(part)].slices |= bit;
  }
  return settled(platform, residency, plan, std::move(out));
}

Plan with_placement(const Platform& platform, const Residency& residency, const Plan& plan, int layer,
                    std::vector<LayerPart> parts) {
  Plan out = plan;
  out.placement[layer] = std::move(parts);
  return settled(platform, residency, plan, std::move(out));
}

Plan with_depth(const Platform& platform, const Residency& residency, const Plan& plan, int depth, Bits bits) {
  Plan out = cut_to(plan, depth);
  for (int l = plan.depth; l < depth; ++l) {
    const size_t row = static_cast<size_t>(l) * plan.slices;
    out.placement[l] = plan.placement.back();
    for (int j = 0; j < plan.slices; ++j)
      if ((plan.slice_set(plan.depth - 1) >> j & 1) != 0) out.bits[row + j] = bits;
  }
  return settled(platform, residency, plan, std::move(out));
}

}  // namespace tessera
