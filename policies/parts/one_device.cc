// Tries by the clock first, for it costs a hundredth of a replay.
#include "policies/parts/one_device.h"

#include <algorithm>
#include <utility>

#include "policies/parts/assembly.h"
#include "policies/parts/costs.h"
#include "policies/parts/placement.h"
#include "policies/parts/preload_buffer.h"
#include "policies/parts/size_search.h"
#include "policies/parts/stage_tree.h"

namespace tessera {

OneDevice::OneDevice(Trials& trials, const Choices& choices)
    : trials_(trials), view_(trials.view()), choices_(choices), clock_(view_, trials.residency(), choices.device) {
  const AccuracyModel& model = view_.accuracy;
  if (model.layers != view_.shape.layers || model.slices != view_.shape.slices)
    invented_ = random_importance(view_.shape, view_.seed);
}

bool OneDevice::in_time(int depth, const std::vector<Bits>& bits) {
  return clock_.latency(stages_of(clock_, depth, view_.shape.slices, bits)) <= view_.budgets.latency;
}

std::vector<Bits> OneDevice::lowest(Size size) const {
  return resident_bits(view_, trials_.residency(), size, choices_.ladder.front());
}

std::optional<Size> OneDevice::largest() {
  const auto size = largest_size(choices_, [&](Size tried) { return in_time(tried.depth, lowest(tried)); });
  if (size && fits(size->depth, lowest(*size))) return size;
  return largest_size(choices_, [&](Size tried) { return fits(tried.depth, lowest(tried)).has_value(); });
}

void OneDevice::set(std::vector<Bits>& bits, const Raise& raise) const {
  bits[static_cast<size_t>(raise.id.layer) * view_.shape.slices + raise.id.slice] = raise.to;
}

// Width by width: each adds slices to the layers' tallies, and each layer's end is one step of the clock's recurrence.
std::vector<Size> OneDevice::sizes_in_time() {
  const int deepest = choices_.depths.back();
  const std::vector<Bits> bits = lowest({deepest, choices_.widths.back()});
  std::vector<LayerTally> layers;
  layers.reserve(static_cast<size_t>(deepest));
  for (int l = 0; l < deepest; ++l) layers.emplace_back(clock_, l);
  std::vector<Size> out;
  int filled = 0;
  for (const int width : choices_.widths) {
    Duration io = clock_.rows(), compute = io + clock_.embed();
    auto depth = choices_.depths.begin();
    for (int l = 0; l < deepest; ++l) {
      for (int j = filled; j < width; ++j)
        layers[l].change(j, kAbsent, bits[static_cast<size_t>(l) * view_.shape.slices + j]);
      io += layers[l].io();
      compute = std::max(compute, io) + layers[l].compute();
      if (l + 1 != *depth) continue;
      const Duration latency = std::max(compute, io + clock_.exit_load(*depth)) + clock_.exit();
      if (latency <= view_.budgets.latency) out.push_back({*depth, width});
      ++depth;
    }
    filled = width;
  }
  std::sort(out.begin(), out.end(),
            [](Size a, Size b) { return a.depth != b.depth ? a.depth < b.depth : a.width < b.width; });
  return out;
}

std::vector<Bits> OneDevice::raised(int depth, std::vector<Bits> bits, std::vector<Raise>& raises) {
  const int slices = view_.shape.slices;
  StageTree tree(clock_, depth);
  std::vector<LayerTally> layers;
  layers.reserve(static_cast<size_t>(depth));
  for (int l = 0; l < depth; ++l) {
    LayerTally& layer = layers.emplace_back(clock_, l);
    for (int j = 0; j < slices; ++j) layer.change(j, kAbsent, bits[static_cast<size_t>(l) * slices + j]);
    tree.set(l, layer.io(), layer.compute());
  }
  const auto refused = [&](const Raise& raise) {
    Bits& now = bits[static_cast<size_t>(raise.id.layer) * slices + raise.id.slice];
    if (raise.to <= now) return true;
    LayerTally with = layers[raise.id.layer];
    with.change(raise.id.slice, now, raise.to);
    const Duration io = with.io(), compute = with.compute();
    if (tree.latency_with(raise.id.layer, io, compute) > view_.budgets.latency) return true;
    tree.set(raise.id.layer, io, compute);
    layers[raise.id.layer] = with;
    now = raise.to;
    return false;
  };
  std::erase_if(raises, refused);
  return bits;
}

std::optional<Plan> OneDevice::fits(int depth, std::vector<Bits> bits) {
  Plan plan = assemble(view_, trials_.residency(), choices_.device, depth, std::move(bits));
  return trials_.fits(plan) ? std::optional(std::move(plan)) : std::nullopt;
}

std::optional<Plan> OneDevice::fitting(int depth, const std::vector<Bits>& bits, const std::vector<Raise>& raises) {
  std::optional<Plan> best;
  const auto holds = [&](int count) {
    std::vector<Bits> with = bits;
    for (int i = 0; i < count; ++i) set(with, raises[static_cast<size_t>(i)]);
    std::optional<Plan> plan = fits(depth, std::move(with));
    if (!plan) return false;
    best = std::move(plan);
    return true;
  };
  const int all = static_cast<int>(raises.size());
  if (!holds(all)) last_that_holds(0, all, holds);
  if (best && view_.budgets.preload.n > 0) keep_what_is_free(trials_, *best);
  return best;
}

Result<Decision> OneDevice::smallest() {
  return decide_among_smallest(trials_, choices_, BuildFloor([&](Size size, Bits bits) {
                                 return assemble(view_, trials_.residency(), choices_.device, size.depth,
                                                 resident_bits(view_, trials_.residency(), size, bits));
                               }));
}

Result<Residency> preload_for(const PlanningView& view, const Choices& choices,
                              const std::function<Result<Decision>(const Residency&)>& decide) {
  constexpr int kRounds = 3;
  Residency best;
  if (view.budgets.preload.n <= 0) return best;
  Costs costs(view, choices.device);
  TESSERA_ASSIGN(Decision decision, decide(best));
  if (!std::holds_alternative<Plan>(decision)) {
    const Size smallest{choices.depths.front(), choices.widths.front()};
    return best_residency({preload_buffer(view, choices, costs, smallest, false)}, decide);
  }
  for (int round = 0; round < kRounds; ++round) {
    const Plan& plan = std::get<Plan>(decision);
    const Size size{plan.depth, plan.width()};
    Residency next = preload_buffer(view, choices, costs, size, false);
    TESSERA_ASSIGN(Decision with, decide(next));
    const Plan* other = std::get_if<Plan>(&with);
    if (other == nullptr || view.accuracy.loss(other->depth, other->bits) > view.accuracy.loss(plan.depth, plan.bits)) break;
    const bool same = Size{other->depth, other->width()} == size;
    best = std::move(next);
    decision = std::move(with);
    if (same) break;
  }
  return best;
}

}  // namespace tessera
