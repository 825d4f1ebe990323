// Keeps the time of each lane.
#include "policies/parts/lane_clock.h"

#include <algorithm>
#include <bit>

namespace tessera {
namespace {

int64_t bytes_of(const ModelShape& shape, int layer, Bits bits, SliceMask slices) {
  int64_t bytes = 0;
  for (SliceMask rest = slices; rest != 0; rest &= rest - 1)
    bytes += shape.bytes_of({static_cast<int16_t>(layer), static_cast<int16_t>(std::countr_zero(rest))}, bits).n;
  return bytes;
}

}  // namespace

SliceMask LayerWork::usable(const Platform& platform, const LayerPart& part) const {
  const SpaceId space = platform.space(part.device);
  SliceMask out = 0;
  for (SliceMask rest = part.slices; rest != 0; rest &= rest - 1) {
    const int where = held_in[static_cast<size_t>(std::countr_zero(rest))];
    if (where == space || (where == kHostSpace && (decoded & rest & -rest) == 0)) out |= rest & -rest;
  }
  return out;
}

BitsHistogram LayerWork::bits_of(SliceMask of) const {
  BitsHistogram out{};
  for (int level = 1; level < kBitsLevels; ++level) out[level] = static_cast<uint8_t>(slice_count(at[level] & of));
  return out;
}

std::vector<LayerWork> layer_works(const PlanningView& view, const Residency& residency, int depth,
                                   const std::vector<Bits>& bits) {
  const int slices = view.shape.slices;
  std::vector<LayerWork> out(static_cast<size_t>(depth));
  for (int l = 0; l < depth; ++l) {
    LayerWork& work = out[l];
    work.held_in.assign(static_cast<size_t>(slices), LayerWork::kNowhere);
    for (int j = 0; j < slices; ++j) {
      const Bits b = bits[static_cast<size_t>(l) * slices + j];
      if (b == kAbsent) continue;
      work.slices |= SliceMask{1} << j;
      work.at[bits_level(b)] |= SliceMask{1} << j;
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      work.largest = std::max(work.largest, view.shape.bytes_of(id, b).n);
    }
    for (int level = kBitsLevels - 1; level >= 1; --level)
      if (slice_count(work.at[level]) > slice_count(work.at[bits_level(work.common)])) work.common = level_bits(level);
  }
  for (const ResidentShard& held : residency.shards) {
    const ShardId id = held.id;
    if (id.layer >= depth || held.bits == kAbsent || bits[static_cast<size_t>(id.layer) * slices + id.slice] != held.bits)
      continue;
    out[id.layer].held_in[id.slice] = held.space;
    if (held.decoded) out[id.layer].decoded |= SliceMask{1} << id.slice;
  }
  return out;
}

std::vector<PlannedLoad> loads_of(const Platform& platform, const LayerWork& work, int layer,
                                  const std::vector<LayerPart>& parts) {
  std::vector<PlannedLoad> out;
  for (size_t k = 0; k < parts.size(); ++k) {
    const SpaceId space = platform.space(parts[k].device);
    const auto same = [&](const LayerPart& other) { return platform.space(other.device) == space; };
    if (std::any_of(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(k), same)) continue;
    SliceMask missing = 0;
    for (const LayerPart& part : parts)
      if (same(part)) missing |= part.slices & ~work.usable(platform, part);
    for (int level = 1; level < kBitsLevels; ++level)
      if (const SliceMask group = missing & work.at[level]; group != 0)
        out.push_back({Op::kLoadShards, static_cast<int16_t>(layer), level_bits(level), group});
  }
  return out;
}

LaneClock::LaneClock(TaskCosts& costs, const std::vector<LayerWork>& works)
    : costs_(&costs),
      works_(&works),
      lanes_(costs.view().platform.devices.size()),
      granted_(std::max<size_t>(costs.view().platform.memories.size(), 1)) {}

Duration LaneClock::occupy(DeviceId device, Duration ready, Duration takes) {
  lanes_[device] = std::max(lanes_[device], ready) + takes;
  return lanes_[device];
}

// A load or a take-over, which reserves what it brings.
Duration LaneClock::bring(DeviceId device, MemoryId memory, Duration ready, Duration takes, int64_t bytes) {
  if (bytes == 0) return occupy(device, ready, takes);
  granted_[memory] = std::max({granted_[memory], ready, lanes_[device]});
  return occupy(device, granted_[memory], takes);
}

void LaneClock::start(DeviceId home) {
  home_ = home;
  const Duration rows = bring(costs_->view().storage, 0, {}, costs_->load_rows(), costs_->rows_bytes());
  hidden_.at.assign(1, {platform().space(home), occupy(home, rows, costs_->embed(home))});
}

Duration LaneClock::read(Value& value, SpaceId space) {
  for (const auto& [where, since] : value.at)
    if (where == space) return since;
  const auto [first, since] = value.at.front();
  const Duration end = space == kHostSpace ? move(value.payload, first, true, since)
                                           : move(value.payload, space, false, read(value, kHostSpace));
  value.at.emplace_back(space, end);
  return end;
}

Duration LaneClock::move(Payload payload, DeviceId device, bool to_host, Duration ready) {
  return occupy(device, ready, costs_->move(device, payload, to_host));
}

// What is read once.
Duration LaneClock::send(Payload payload, SpaceId from, Duration since, SpaceId to) {
  if (from == to) return since;
  if (from != kHostSpace) since = move(payload, from, true, since);
  if (to != kHostSpace) since = move(payload, to, false, since);
  return since;
}

Duration LaneClock::input_at(DeviceId device) const {
  const SpaceId space = platform().space(device);
  for (const auto& [where, since] : hidden_.at)
    if (where == space) return std::max(since, lanes_[device]);
  LaneClock other = *this;
  return std::max(other.read(other.hidden_, space), other.lanes_[device]);
}

// Loads, then what the host holds for other devices: as they are lowered.
void LaneClock::bring_weights(int layer, const std::vector<LayerPart>& parts) {
  const PlanningView& view = costs_->view();
  const LayerWork& work = (*works_)[layer];
  weights_.assign(parts.size(), {});
  for (const PlannedLoad& load : loads_of(view.platform, work, layer, parts)) {
    const int64_t bytes = bytes_of(view.shape, layer, load.bits, load.slices);
    const int count = slice_count(load.slices);
    const auto concerns = [&](const LayerPart& part) { return (part.slices & load.slices) != 0; };
    const DeviceId first =
        std::find_if(parts.begin(), parts.end(), concerns)->device;  // of a space: its only one, or the host's
    const bool own = view.platform.space(first) != kHostSpace;
    const bool straight = own && view.platform.devices[first].host_visible;
    const MemoryId memory = straight ? view.platform.memory(first) : MemoryId{0};
    Duration there = bring(view.storage, memory, {}, costs_->load(load.bits, count, bytes), bytes);
    if (own && !straight)
      there = bring(view.platform.link_of(first), view.platform.memory(first), there, costs_->take_over(first, count, bytes),
                    bytes);
    for (size_t k = 0; k < parts.size(); ++k)
      if (concerns(parts[k])) weights_[k] = std::max(weights_[k], there);
  }
  for (size_t k = 0; k < parts.size(); ++k) {
    const SpaceId space = view.platform.space(parts[k].device);
    if (space == kHostSpace) continue;
    SliceMask taken_over = 0;
    for (SliceMask rest = work.usable(view.platform, parts[k]); rest != 0; rest &= rest - 1)
      if (work.held_in[static_cast<size_t>(std::countr_zero(rest))] != space) taken_over |= rest & -rest;
    for (int level = 1; level < kBitsLevels; ++level) {
      const SliceMask group = taken_over & work.at[level];
      if (group == 0) continue;
      const int64_t bytes = bytes_of(view.shape, layer, level_bits(level), group);
      const Duration takes = costs_->take_over(parts[k].device, slice_count(group), bytes);
      const DeviceId device = parts[k].device;
      weights_[k] =
          std::max(weights_[k], bring(view.platform.link_of(device), view.platform.memory(device), {}, takes, bytes));
    }
  }
}

Duration LaneClock::part_time(Op op, int layer, const LayerPart& part) {
  const LayerWork& work = (*works_)[layer];
  const SliceMask decoded = work.decoded & work.usable(platform(), part);
  return costs_->part(op, part.device, work.bits_of(part.slices), (part.slices & ~decoded) == 0);
}

Duration LaneClock::run(int layer, const std::vector<LayerPart>& parts) {
  bring_weights(layer, parts);
  if (parts.size() == 1) {
    const DeviceId device = parts[0].device;
    const Duration ready = std::max(read(hidden_, platform().space(device)), weights_[0]);
    const Duration end = occupy(device, ready, part_time(Op::kLayer, layer, parts[0]));
    hidden_.at.assign(1, {platform().space(device), end});
    return end;
  }
  run_half(Op::kAttentionPart, layer, parts, hidden_, attended_);
  return run_half(Op::kFfnPart, layer, parts, attended_, hidden_);
}

// A part on each device, and the combine at home.
Duration LaneClock::run_half(Op op, int layer, const std::vector<LayerPart>& parts, Value& input, Value& output) {
  ends_.clear();
  for (size_t k = 0; k < parts.size(); ++k) {
    Duration ready = read(input, platform().space(parts[k].device));
    if (op == Op::kAttentionPart) ready = std::max(ready, weights_[k]);
    ends_.push_back(occupy(parts[k].device, ready, part_time(op, layer, parts[k])));
  }
  const SpaceId at_home = platform().space(home_);
  Duration ready = read(input, at_home);
  for (size_t k = 0; k < parts.size(); ++k)
    ready = std::max(ready, send(Payload::kPartial, platform().space(parts[k].device), ends_[k], at_home));
  const Duration end = occupy(home_, ready, costs_->combine(home_, op));
  output.at.assign(1, {at_home, end});
  return end;
}

Duration LaneClock::bring_exit(int depth) {
  const PlanningView& view = costs_->view();
  return bring(view.storage, 0, {}, costs_->load_exit(depth), view.shape.exit_bytes[static_cast<size_t>(depth) - 1].n);
}

Duration LaneClock::finish(int depth, bool exit_resident) {
  Duration ready = read(hidden_, platform().space(home_));
  if (!exit_resident) ready = std::max(ready, bring_exit(depth));
  const Duration end = occupy(home_, ready, costs_->exit(home_));
  return send(Payload::kLogits, platform().space(home_), end, kHostSpace);
}

}  // namespace tessera
