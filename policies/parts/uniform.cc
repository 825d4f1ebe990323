// Compares the largest submodels of all bitwidths.
#include "policies/parts/uniform.h"

#include <string>

#include "policies/parts/costs.h"
#include "policies/parts/knobs.h"
#include "policies/parts/size_search.h"

namespace tessera {
namespace {

// Whether `a` should be preferred to `b`, both within budgets.
bool better(const AccuracyModel& accuracy, const Plan& a, const Plan& b) {
  if (!accuracy.profiled()) return false;  // candidates come with the most bits first
  return accuracy.loss(a.depth, a.bits) < accuracy.loss(b.depth, b.bits);
}

}  // namespace

KnobDescription bits_knob() {
  return {"bits", "bits per weight", "best",
          "bitwidth of every shard: best (least profiled loss; unprofiled: the most bits), or 1 to 8, or 32"};
}

Status narrow_by_bits_knob(const Knobs& knobs, Choices& choices, Computes who) {
  std::vector<std::string> allowed{"best"};
  for (const Bits bits : who == Computes::kSeveral ? choices.anywhere : choices.ladder)
    allowed.push_back(std::to_string(bits));
  TESSERA_ASSIGN(const std::string value, knob_choice(knobs, "bits", allowed));
  if (value != "best") choices.ladder = choices.anywhere = {static_cast<Bits>(std::stoi(value))};
  return {};
}

namespace {

using FindPlan = std::function<std::optional<Plan>(Size, Bits)>;

// The largest size at each bitwidth, most bits first; the best of those.
Result<std::optional<Plan>> best_of_bitwidths(Trials& trials, const Choices& choices, const std::vector<Bits>& ladder,
                                              const FindPlan& find) {
  const AccuracyModel& accuracy = trials.view().accuracy;
  std::optional<Plan> best;
  for (auto bits = ladder.rbegin(); bits != ladder.rend(); ++bits) {
    Plan found;
    const auto fits = [&](Size size) {
      std::optional<Plan> plan = find(size, *bits);
      if (!plan) return false;
      found = std::move(*plan);
      return true;
    };
    // The last size that fitted is the largest.
    if (largest_size(choices, fits) && (!best || better(accuracy, found, *best))) best = std::move(found);
    TESSERA_TRY(trials.status());
    if (best && !accuracy.profiled()) break;
  }
  return best;
}

}  // namespace

Result<Decision> decide_uniform(Trials& trials, const Choices& choices, const BuildFloor& build) {
  const PlanningView& view = trials.view();
  Costs costs(view, choices.device);
  const auto find = [&](Size size, Bits bits) -> std::optional<Plan> {
    // Compute alone is a lower bound, and cheaper than a replay.
    if (trials.residency().shards.empty() && costs.layer(size.width, bits) * size.depth > view.budgets.latency)
      return std::nullopt;
    Plan plan = build(size, bits);
    return trials.fits(plan) ? std::optional(std::move(plan)) : std::nullopt;
  };
  TESSERA_ASSIGN(std::optional<Plan> best, best_of_bitwidths(trials, choices, choices.ladder, find));
  if (best) return Decision{std::move(*best)};
  return decide_among_smallest(trials, choices, build);
}

Result<Decision> decide_placed(Trials& trials, const Choices& choices, Placement& placement) {
  const ModelShape& shape = trials.view().shape;
  const auto find = [&](Size size, Bits bits) {
    return fastest_that_fits(trials, placement.candidates(size.depth, uniform_bits(shape, size, bits)));
  };
  TESSERA_ASSIGN(std::optional<Plan> best, best_of_bitwidths(trials, choices, choices.anywhere, find));
  if (best) return Decision{std::move(*best)};
  Choices all = choices;
  all.ladder = choices.anywhere;
  return decide_among_smallest(trials, all, BuildFloors([&](Size size, Bits bits) {
                                 return placement.floors(size.depth, uniform_bits(shape, size, bits));
                               }));
}

void explain_all(Plan& plan, const std::string& loaded, const std::string& resident, const Residency& residency) {
  for (int l = 0; l < plan.depth; ++l)
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      if (plan.bits_of(id) == kAbsent) continue;
      const ResidentShard* held = residency.find(id);
      plan.explain.push_back({id, held != nullptr && held->bits == plan.bits_of(id) ? resident : loaded});
    }
}

}  // namespace tessera
