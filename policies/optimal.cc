// Plans with the least loss that the budgets allow, and proves how little any plan could lose.
//
// Optimises: the accuracy model's loss over the static space of docs/planning.md: every exit, slice set (prefixes where the
//            model knows no others), width of each layer and bits of each shard, under latency and memory.
// Algorithm: 1. per layer, every histogram of bits with its assignment of least loss (dynamic programme over slices)
//            2. relaxed problem: loads in layer order, no load waits for room; its Lagrangian dual bounds it (exact_dual)
//            3. labels (storage time, compute time, loss) from layer to layer with dominance and the dual's potential find
//               its optimum (exact_search): Plan::loss_bound, which no plan of this view goes below
//            4. the replay decides: where it lets the optimum pass, loss = bound. Where memory or placement stand against
//            it,
//               the best plan that it lets pass (exact_value); the difference to the bound is the gap
//            5. layers of more than 120,000 histograms (18 slices at 6 bitwidths): elastic's search, and on one device the
//               dual's bound with slices taken one by one (exact_wide)
// Reference: multi-stage knapsack: Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004, ch. 9 and 11; Irnich,
// Desaulniers,
//            "Shortest path problems with resource constraints", 2005; Fisher, "The Lagrangian relaxation method", 1981.
// Cost:      O(histograms * slices * layers) for 1, then bounded by a count of labels; exponential in the worst case
// Knobs:     none
// Preload:   bottom layers first, at the bits of the plan that they make possible, within the preload budget
#include <algorithm>

#include "framework/registry.h"
#include "policies/parts/exact_value.h"
#include "policies/parts/exact_wide.h"
#include "policies/parts/knobs.h"
#include "policies/parts/nearest.h"
#include "policies/parts/preload_buffer.h"

namespace tessera {
namespace {

constexpr int kPreloadRounds = 3;

// The view's model, or invented importance where it says nothing about this shape.
AccuracyModel model_of(const PlanningView& view) {
  const AccuracyModel& given = view.accuracy;
  const size_t shards = static_cast<size_t>(view.shape.layers) * static_cast<size_t>(view.shape.slices);
  const bool whole = given.layers == view.shape.layers && given.slices == view.shape.slices &&
                     given.base.size() == static_cast<size_t>(view.shape.layers) &&
                     given.sensitivity.size() == shards * kBitsLevels && given.scale_ppm.size() == shards &&
                     std::all_of(given.scale_ppm.begin(), given.scale_ppm.end(), [](int64_t ppm) { return ppm > 0; });
  return whole ? given : random_importance(view.shape, view.seed);
}

class Optimal final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "the least loss there is, with a proven bound (multi-stage knapsack: Lagrangian dual and label setting)";
  }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    return decide_with(view, view.residency);
  }

  // Holds the bottom of a good plan; with it, a better one may be possible, whose bottom is held next.
  Result<Residency> preload(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(const Choices choices, choices_of(view));
    if (view.budgets.preload.n <= 0) return Residency{};
    const AccuracyModel accuracy = model_of(view);
    Residency best, candidate;
    std::optional<int64_t> least;
    for (int round = 0; round <= kPreloadRounds; ++round) {
      TESSERA_ASSIGN(const Decision decision, decide_with(view, candidate));
      const Plan* plan = std::get_if<Plan>(&decision);
      if (plan == nullptr || plan->predicted.latency > view.budgets.latency) break;
      const int64_t loss = accuracy.loss(plan->depth, plan->bits).n;
      if (least && loss >= *least) break;
      least = loss;
      best = std::move(candidate);
      candidate = bottom_of(view, *plan);
    }
    if (least) return best;
    return smallest_that_helps(view, choices);
  }

 private:
  static Result<Decision> decide_with(const PlanningView& view, const Residency& residency) {
    TESSERA_ASSIGN(const Choices choices, choices_of(view));
    const AccuracyModel accuracy = model_of(view);
    Trials trials(view, residency);
    ExactValue value(trials, accuracy, choices);
    ExactTimes times(view, choices);
    const std::optional<ExactModel> model = exact_model(view, residency, accuracy, choices, times);
    if (!model) {
      std::optional<Plan> plan = value.find_without_model();
      TESSERA_TRY(trials.status());
      if (!plan) return smallest(trials, value, choices, {});
      const int64_t loss = value.loss(*plan);
      if (const auto bound = wide_bound(view, residency, accuracy, choices, times, loss)) plan->loss_bound = Micro{*bound};
      keep_what_is_free(trials, *plan);
      explain(accuracy, residency, *plan);
      return Decision{std::move(*plan)};
    }
    ExactSearch search(*model, SearchLimits{});
    const ExactOutcome out = search.solve();
    std::optional<Plan> plan = value.find(*model, search, out);
    TESSERA_TRY(trials.status());
    if (!plan) {
      std::vector<Plan> quickest;
      for (const int depth : choices.depths)
        if (const auto fast = search.fastest(depth))
          for (Plan& way : value.ways(depth, ExactValue::bits_of(*model, fast->second))) quickest.push_back(std::move(way));
      TESSERA_ASSIGN(Decision decision, smallest(trials, value, choices, quickest));
      Plan* small = std::get_if<Plan>(&decision);
      if (small == nullptr || small->predicted.latency > view.budgets.latency) return decision;
      plan = std::move(*small);
    }
    keep_what_is_free(trials, *plan);
    if (out.bound) plan->loss_bound = Micro{std::min(*out.bound, value.loss(*plan))};
    explain(accuracy, residency, *plan);
    return Decision{std::move(*plan)};
  }

  // The smallest submodels, and with the last of them the quickest plans of all.
  static Result<Decision> smallest(Trials& trials, ExactValue& value, const Choices& choices,
                                   const std::vector<Plan>& quickest) {
    Choices all = choices;
    if (trials.view().compute_devices.size() > 1) all.ladder = choices.anywhere;
    const auto build = [&](Size size, Bits bits) {
      std::vector<Plan> out = value.ways(size.depth, resident_bits(trials.view(), trials.residency(), size, bits));
      if (!trials.residency().shards.empty()) {  // what is held may be in the way
        std::vector<Plan> anew = value.ways(size.depth, uniform_bits(trials.view().shape, size, bits));
        out.insert(out.end(), anew.begin(), anew.end());
      }
      const bool last = size.width == all.widths.front() && bits == all.ladder.front();
      if (last) out.insert(out.end(), quickest.begin(), quickest.end());
      return out;
    };
    return decide_among_smallest(trials, all, BuildFloors(build));
  }

  // Nothing is in time: what of the smallest submodel brings it nearest.
  static Result<Residency> smallest_that_helps(const PlanningView& view, const Choices& choices) {
    std::vector<Residency> candidates;
    for (const Bits bits : {choices.ladder.front(), choices.ladder.back()}) {
      const Size size{choices.depths.front(), choices.widths.front()};
      Plan plan = assemble(view, {}, choices.device, size.depth, uniform_bits(view.shape, size, bits));
      candidates.push_back(bottom_of(view, plan));
    }
    return best_residency(std::move(candidates), [&](const Residency& residency) { return decide_with(view, residency); });
  }

  static void explain(const AccuracyModel& accuracy, const Residency& residency, Plan& plan) {
    plan.explain.clear();
    for (int l = 0; l < plan.depth; ++l)
      for (int j = 0; j < plan.slices; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        const Bits bits = plan.bits_of(id);
        if (bits == kAbsent) continue;
        const ResidentShard* held = residency.find(id);
        const std::string how = held != nullptr && held->bits == bits ? "resident as held" : "loaded";
        plan.explain.push_back({id, how + "; of the least sum of losses: loses " +
                                        std::to_string(accuracy.loss_delta(id, bits).n) + " micro-nats here, " +
                                        std::to_string(accuracy.loss_delta(id, kAbsent).n) + " if absent"});
      }
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Optimal)
