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

Placement::Request Placement::request_of(int depth, const std::vector<Bits>& bits) {
  Request out;
  out.depth = depth;
  out.works = layer_works(view_, residency_, depth, bits);
  out.roles = roles_of(view_, widest(out.works), bits_in(bits));
  if (!several()) return out;
  bool differ = false;
  for (const int layers_in_room : {1, 2}) {
    std::vector<LayerOptions> options;
    for (int l = 0; l < depth; ++l) {
      options.push_back(options_of(out.roles, out.works[l], layers_in_room));
      if (layers_in_room == 1) continue;
      const LayerOptions& loose = out.options.front()[l];
      differ = differ || loose.most != options.back().most || loose.fixed != options.back().fixed;
    }
    if (layers_in_room == 1 || differ) out.options.push_back(std::move(options));
  }
  return out;
}

std::vector<Placement::Spread> Placement::ways_to_spread(const Request& request) const {
  std::vector<Spread> out;
  for (size_t h = 0; h < std::min(request.roles.homes.size(), kMostHomes); ++h)
    for (size_t room = 1; room <= request.options.size(); ++room) out.push_back({request.roles.homes[h], room});
  return out;
}

std::vector<PlacedPlan> Placement::candidates(int depth, const std::vector<Bits>& bits) {
  const Request request = request_of(depth, bits);
  std::vector<PlacedPlan> out;
  for (const DeviceId device : request.roles.layers)
    out.push_back({assemble(view_, residency_, device, depth, bits), alone(device, request), false});
  Layers placement, loose;
  for (const Spread& how : ways_to_spread(request)) {
    const std::optional<Duration> ideal = spread(how, request, kForever, placement);
    if (!ideal || (how.layers_in_room > 1 && placement == loose)) continue;
    loose = placement;
    out.push_back({spread_plan(how.home, request, bits, std::move(placement)), *ideal, true});
  }
  std::stable_sort(out.begin(), out.end(), [](const PlacedPlan& a, const PlacedPlan& b) { return a.ideal < b.ideal; });
  return out;
}

// What was in time the last time probably is again.
bool Placement::in_time(int depth, const std::vector<Bits>& bits, Duration latency) {
  const Request request = request_of(depth, bits);
  std::vector<Spread> ways = ways_to_spread(request);
  std::stable_partition(ways.begin(), ways.end(), [&](const Spread& how) { return how == in_time_last_; });
  Layers placement;
  for (const Spread& how : ways) {
    const std::optional<Duration> ideal = spread(how, request, latency, placement);
    if (!ideal || *ideal > latency) continue;
    in_time_last_ = how;
    return true;
  }
  return std::any_of(request.roles.layers.begin(), request.roles.layers.end(),
                     [&](DeviceId device) { return alone(device, request) <= latency; });
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

Duration Placement::alone(DeviceId device, const Request& request) {
  LaneClock clock(costs_, request.works);
  clock.start(home_for(view_, device).value_or(device));
  for (int l = 0; l < request.depth; ++l) clock.run(l, {{device, request.works[l].slices}});
  return clock.finish(request.depth, exit_resident(request.depth));
}

std::optional<Duration> Placement::spread(const Spread& how, const Request& request, Duration latest, Layers& placement) {
  LaneClock clock(costs_, request.works), after = clock, best = clock;
  clock.start(how.home);
  placement.clear();
  for (int l = 0; l < request.depth; ++l) {
    const LayerWork& work = request.works[l];
    const LayerOptions& options = request.options[how.layers_in_room - 1][l];
    const std::vector<LayerPart>* chosen = nullptr;
    Duration earliest;
    const auto attempt = [&](const std::vector<LayerPart>& parts) {
      after = clock;
      const Duration end = after.run(l, parts);
      if (chosen != nullptr && end >= earliest) return;
      earliest = end;
      chosen = &parts;
      std::swap(best, after);
    };
    for (const std::vector<LayerPart>& parts : options.fixed) attempt(parts);
    std::vector<LayerPart> filled;
    if (split_ == Split::kGreedy) {
      const SliceSplit::Counts counts = counts_.fill(request.roles.parts, options.most, clock, work);
      if (!counts.empty()) filled = assign(request.roles.parts, counts, work);
      if (filled.size() > 1) attempt(filled);
    }
    const bool again = l > 0 && fits_again(placement.back(), request.roles, options.most, work);
    if (again && (options.fixed.empty() || placement.back() != options.fixed.back())) attempt(placement.back());
    if (chosen == nullptr || earliest > latest) return std::nullopt;
    placement.push_back(std::vector<LayerPart>(*chosen));
    std::swap(clock, best);
  }
  return clock.finish(request.depth, exit_resident(request.depth));
}

Placement::LayerOptions Placement::options_of(const DeviceRoles& roles, const LayerWork& work, int layers_in_room) {
  LayerOptions out;
  const int slices = slice_count(work.slices);
  const SliceSplit::Counts whole = counts_.limits(roles.layers, work, layers_in_room);
  for (size_t i = 0; i < roles.layers.size(); ++i)
    if (whole[i] >= slices) out.fixed.push_back({{roles.layers[i], work.slices}});
  out.most = counts_.limits(roles.parts, work, layers_in_room);
  if (split_ != Split::kBalanced) return out;
  const SliceSplit::Counts counts = counts_.balance(roles.parts, out.most, slices, work.common);
  if (counts.empty()) return out;
  std::vector<LayerPart> parts = assign(roles.parts, counts, work);
  rank(parts, work);
  if (parts.size() > 1) out.fixed.push_back(std::move(parts));
  return out;
}

// Whether this layer may be split as the one before.
bool Placement::fits_again(const std::vector<LayerPart>& before, const DeviceRoles& roles, const SliceSplit::Counts& most,
                           const LayerWork& work) const {
  if (before.size() < 2) return false;
  SliceMask covered = 0;
  for (const LayerPart& part : before) {
    covered |= part.slices;
    const auto at = std::find(roles.parts.begin(), roles.parts.end(), part.device) - roles.parts.begin();
    if (slice_count(part.slices) > most[static_cast<size_t>(at)]) return false;
  }
  return covered == work.slices;
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
void Placement::rank(std::vector<LayerPart>& parts, const LayerWork& work) {
  std::vector<std::pair<Duration, LayerPart>> ways;
  for (const LayerPart& part : parts) {
    const int count = slice_count(part.slices);
    const SliceSplit::Halves& of = counts_.halves(part.device, work.common);
    ways.emplace_back(of.attention[count] + of.ffn[count] + counts_.take_over(part.device, count, count * work.largest),
                      part);
  }
  std::stable_sort(ways.begin(), ways.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::transform(ways.begin(), ways.end(), parts.begin(), [](const auto& way) { return way.second; });
}

Plan Placement::spread_plan(DeviceId home, const Request& request, const std::vector<Bits>& bits, Layers placement) const {
  Plan out;
  out.depth = request.depth;
  out.slices = view_.shape.slices;
  out.bits = bits;
  out.quantile = view_.quantile;
  out.home = home;
  out.placement = std::move(placement);
  out.loads = {{Op::kLoadRows, -1, kAbsent, 0}};
  for (int l = 0; l < out.depth; ++l)
    for (const PlannedLoad& load : loads_of(view_.platform, request.works[l], l, out.placement[l]))
      out.loads.push_back(load);
  if (!exit_resident(out.depth)) out.loads.push_back({Op::kLoadExit, static_cast<int16_t>(out.depth - 1), kAbsent, 0});
  return out;
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
