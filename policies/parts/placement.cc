// Chooses devices by earliest finish, layer by layer; the replay has the last word.
#include "policies/parts/placement.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kMostHomes = 4;  // tried: more are seldom described and never better by much

int widest(const std::vector<LayerWork>& works) {
  int most = 0;
  for (const LayerWork& work : works) most = std::max(most, slice_count(work.slices));
  return most;
}

SliceMask lowest(SliceMask set, int count) {
  SliceMask out = 0;
  for (; count > 0 && set != 0; --count, set &= set - 1) out |= set & -set;
  return out;
}

}  // namespace

Placement::Placement(const PlanningView& view, const Residency& residency, Split split)
    : view_(view), residency_(residency), split_(split), costs_(view), counts_(costs_) {}

bool Placement::exit_resident(int depth) const {
  return std::find(residency_.exits.begin(), residency_.exits.end(), depth) != residency_.exits.end();
}

std::vector<PlacedPlan> Placement::candidates(int depth, const std::vector<Bits>& bits) {
  const std::vector<LayerWork> works = layer_works(view_, residency_, depth, bits);
  const DeviceRoles roles = roles_of(view_, widest(works), bits_in(bits));
  std::vector<PlacedPlan> out;
  for (const DeviceId device : roles.layers) out.push_back(alone(device, depth, bits, works));
  const size_t homes = view_.compute_devices.size() > 1 ? std::min(roles.homes.size(), kMostHomes) : 0;
  for (size_t h = 0; h < homes; ++h) {
    auto loose = spread({roles.homes[h], 1}, depth, bits, roles, works);
    auto tight = spread({roles.homes[h], 2}, depth, bits, roles, works);
    const auto same = [](const LayerPart& a, const LayerPart& b) { return a.device == b.device && a.slices == b.slices; };
    const bool differ =
        loose && tight &&
        !std::equal(loose->plan.placement.begin(), loose->plan.placement.end(), tight->plan.placement.begin(),
                    [&](const auto& a, const auto& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end(), same); });
    if (loose) out.push_back(std::move(*loose));
    if (differ) out.push_back(std::move(*tight));
  }
  std::stable_sort(out.begin(), out.end(), [](const PlacedPlan& a, const PlacedPlan& b) { return a.ideal < b.ideal; });
  return out;
}

std::vector<Plan> Placement::floors(int depth, const std::vector<Bits>& bits) {
  std::vector<Plan> out;
  bool spread_seen = false;
  for (PlacedPlan& candidate : candidates(depth, bits)) {
    if (candidate.spread && std::exchange(spread_seen, true)) continue;
    out.push_back(std::move(candidate.plan));
  }
  return out;
}

PlacedPlan Placement::alone(DeviceId device, int depth, const std::vector<Bits>& bits, const std::vector<LayerWork>& works) {
  PlacedPlan out{assemble(view_, residency_, device, depth, bits), {}, false};
  LaneClock clock(costs_, works);
  clock.start(out.plan.home.value_or(device));
  for (int l = 0; l < depth; ++l) clock.run(l, out.plan.placement[l]);
  out.ideal = clock.finish(depth, exit_resident(depth));
  return out;
}

std::optional<PlacedPlan> Placement::spread(const Spread& how, int depth, const std::vector<Bits>& bits,
                                            const DeviceRoles& roles, const std::vector<LayerWork>& works) {
  PlacedPlan out;
  out.spread = true;
  out.plan.depth = depth;
  out.plan.slices = view_.shape.slices;
  out.plan.bits = bits;
  out.plan.quantile = view_.quantile;
  out.plan.home = how.home;
  LaneClock clock(costs_, works);
  clock.start(how.home);
  for (int l = 0; l < depth; ++l) {
    const std::vector<LayerPart>* before = l == 0 ? nullptr : &out.plan.placement.back();
    std::optional<LaneClock> best;
    Duration earliest = kForever;
    std::vector<LayerPart> chosen;
    for (std::vector<LayerPart>& parts : options(clock, l, works[l], roles, how, before)) {
      LaneClock after = clock;
      const Duration end = after.run(l, parts);
      if (best && end >= earliest) continue;
      earliest = end;
      chosen = std::move(parts);
      best = std::move(after);
    }
    if (!best) return std::nullopt;
    out.plan.placement.push_back(std::move(chosen));
    clock = std::move(*best);
  }
  list_spread_loads(out.plan, works);
  out.ideal = clock.finish(depth, exit_resident(depth));
  return out;
}

// What a layer may be placed on: each device alone, the split, and the layer before's placement.
std::vector<std::vector<LayerPart>> Placement::options(const LaneClock& clock, int layer, const LayerWork& work,
                                                       const DeviceRoles& roles, const Spread& how,
                                                       const std::vector<LayerPart>* before) {
  std::vector<std::vector<LayerPart>> out;
  const int slices = slice_count(work.slices);
  const SliceSplit::Counts whole = counts_.limits(roles.layers, layer, work, how.layers_in_room);
  for (size_t i = 0; i < roles.layers.size(); ++i)
    if (whole[i] >= slices) out.push_back({{roles.layers[i], work.slices}});
  const SliceSplit::Counts most = counts_.limits(roles.parts, layer, work, how.layers_in_room);
  const Bits bits = common_bits(work);
  const SliceSplit::Counts counts = split_ == Split::kBalanced ? counts_.balance(roles.parts, most, slices, bits)
                                                               : counts_.fill(roles.parts, most, clock, layer, work);
  if (!counts.empty()) {
    std::vector<LayerPart> parts = assign(roles.parts, counts, work);
    if (split_ == Split::kBalanced) rank(parts, layer, work);
    if (parts.size() > 1) out.push_back(std::move(parts));
  }
  if (before != nullptr && before->size() > 1) {
    SliceMask covered = 0;
    bool fits = true;
    for (const LayerPart& part : *before) {
      covered |= part.slices;
      const auto at = std::find(roles.parts.begin(), roles.parts.end(), part.device) - roles.parts.begin();
      fits = fits && slice_count(part.slices) <= most[static_cast<size_t>(at)];
    }
    if (covered == work.slices && fits) out.push_back(*before);
  }
  return out;
}

// Slices go where they are held; the others in order.
std::vector<LayerPart> Placement::assign(const std::vector<DeviceId>& devices, SliceSplit::Counts counts,
                                         const LayerWork& work) {
  std::vector<LayerPart> parts;
  SliceMask left = work.slices;
  for (size_t i = 0; i < devices.size(); ++i) {
    SliceMask held = 0;
    for (SliceMask rest = left; rest != 0; rest &= rest - 1)
      if (work.held_in[static_cast<size_t>(std::countr_zero(rest))] == view_.platform.space(devices[i]))
        held |= rest & -rest;
    parts.push_back({devices[i], lowest(held, counts[i])});
    counts[i] -= slice_count(parts[i].slices);
    left &= ~parts[i].slices;
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    const SliceMask more = lowest(left, counts[i]);
    parts[i].slices |= more;
    left &= ~more;
  }
  std::erase_if(parts, [](const LayerPart& part) { return part.slices == 0; });
  return parts;
}

// By upward rank, the longest way to the layer's end first: in this order parts get their weights.
void Placement::rank(std::vector<LayerPart>& parts, int layer, const LayerWork& work) {
  const Bits bits = common_bits(work);
  const auto way = [&](const LayerPart& part) {
    const int count = slice_count(part.slices);
    const SliceSplit::Halves& of = counts_.halves(part.device, bits);
    Duration takes = of.attention[count] + of.ffn[count];
    return takes + counts_.take_over(part.device, count, count * largest_slice(view_.shape, layer, work));
  };
  std::stable_sort(parts.begin(), parts.end(), [&](const LayerPart& a, const LayerPart& b) { return way(a) > way(b); });
}

void Placement::list_spread_loads(Plan& plan, const std::vector<LayerWork>& works) {
  plan.loads = {{Op::kLoadRows, -1, kAbsent, 0}};
  for (int l = 0; l < plan.depth; ++l)
    for (const PlannedLoad& load : loads_of(view_.platform, works[l], l, plan.placement[l])) plan.loads.push_back(load);
  if (!exit_resident(plan.depth)) plan.loads.push_back({Op::kLoadExit, static_cast<int16_t>(plan.depth - 1), kAbsent, 0});
}

Duration Placement::layer_time(int width, Bits bits) {
  const auto [known, fresh] = layer_times_.try_emplace({width, bits}, kForever);
  if (!fresh) return known->second;
  const DeviceRoles roles = roles_of(view_, width, {bits});
  Duration least = kForever;
  for (const DeviceId device : roles.layers) least = std::min(least, costs_.part(Op::kLayer, device, width, bits));
  if (roles.parts.size() > 1 && !roles.homes.empty()) {
    const SliceSplit::Counts counts =
        counts_.balance(roles.parts, SliceSplit::Counts(roles.parts.size(), width), width, bits);
    const DeviceId home = roles.homes.front();
    least = std::min(least, counts_.slowest(roles.parts, counts, bits) + costs_.combine(home, Op::kAttentionPart) +
                                costs_.combine(home, Op::kFfnPart));
  }
  known->second = least;
  return least;
}

std::optional<Plan> fastest_that_fits(Trials& trials, std::vector<PlacedPlan> candidates) {
  std::optional<Plan> best;
  for (PlacedPlan& candidate : candidates) {
    if (candidate.ideal > trials.view().budgets.latency) break;
    if (best && best->predicted.latency <= candidate.ideal) break;
    if (!trials.fits(candidate.plan)) continue;
    if (!best || candidate.plan.predicted.latency < best->predicted.latency) best = std::move(candidate.plan);
  }
  return best;
}

void keep_what_is_free(Trials& trials, Plan& plan) {
  const PlanningView& view = trials.view();
  const std::pair<size_t, Bytes> ways[] = {{plan.bits.size(), view.budgets.preload}, {0, Bytes{}}};
  for (const auto& [most, room] : ways) {
    Plan keeping = plan;
    keep_bottom_up(view, trials.residency(), keeping, most, room);
    if (keeping.keep.empty()) continue;
    if (!trials.fits(keeping) || keeping.predicted.latency > plan.predicted.latency) continue;
    plan = std::move(keeping);
    return;
  }
}

void explain_placement(const Platform& platform, Plan& plan, const std::string& why) {
  plan.explain.clear();
  for (int l = 0; l < plan.depth; ++l) {
    const int width = slice_count(plan.slice_set(l));
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const std::optional<int> at = plan.part_of(id);
      if (!at) continue;
      const LayerPart& part = plan.placement[l][static_cast<size_t>(*at)];
      plan.explain.push_back({id, platform.devices[part.device].name + " with " + std::to_string(slice_count(part.slices)) +
                                      " of " + std::to_string(width) + " slices: " + why});
    }
  }
}

}  // namespace tessera
