// Computes first, then bits within accumulated IO budgets; the replay has the last word (policies/sti.cc).
#include "policies/parts/sti_planner.h"

#include <optional>

#include "policies/parts/assembly.h"
#include "policies/parts/importance.h"
#include "policies/parts/io_plan.h"
#include "policies/parts/nearest.h"
#include "policies/parts/placement.h"
#include "policies/parts/preload_buffer.h"
#include "policies/parts/size_search.h"
#include "policies/parts/sti_reasons.h"

namespace tessera {
namespace {

// Where the planner starts: a size, its uniform bitwidth, and how long layer 0 may be waited for.
struct Start {
  Size size;
  Bits base = kAbsent;
  Head head = Head::kLayerZero;
};

// T_comp of the first device; of the placed layer where several compute.
Costs sti_costs(const StiSettings& settings, Placement& placement) {
  PlacedLayer placed;
  if (placement.several()) placed = [&placement](int width, Bits bits) { return placement.layer_time(width, bits); };
  return {placement.view(), settings.choices.device, std::move(placed)};
}

// One decision under one residency.
class Planner {
 public:
  Planner(Trials& trials, const StiSettings& settings)
      : trials_(trials),
        view_(trials.view()),
        settings_(settings),
        placement_(view_, trials.residency(), Split::kBalanced),
        costs_(sti_costs(settings, placement_)) {}

  Result<Decision> decide() {
    const std::optional<Start> start = plan_compute();
    if (start) {
      if (auto plan = plan_io(*start)) return Decision{std::move(*plan)};
      if (auto plan = degrade(start->size)) return Decision{std::move(*plan)};
    }
    TESSERA_TRY(trials_.status());
    const auto smaller = largest_size(settings_.choices, [&](Size size) { return fits_at_all(size); });
    if (smaller) {
      if (auto plan = degrade(*smaller)) return Decision{std::move(*plan)};
    }
    TESSERA_TRY(trials_.status());
    return decide_among_smallest(trials_, settings_.choices,
                                 BuildFloors([&](Size size, Bits bits) { return floors(size, bits); }));
  }

  // Stage A: the deepest, then widest size that computes in time and whose IO, with all slack at the worst, can keep up.
  std::optional<Start> plan_compute() {
    const Choices& all = settings_.choices;
    for (auto depth = all.depths.rbegin(); depth != all.depths.rend(); ++depth)
      for (auto width = all.widths.rbegin(); width != all.widths.rend(); ++width) {
        const Size size{*depth, *width};
        if (!may_compute_in_time(size)) continue;
        IoPlan io(view_, trials_.residency(), costs_, size);
        if (const auto start = pass_one(io, size)) return start;
      }
    return std::nullopt;
  }

 private:
  // A cheap necessary condition: compute alone, at the fastest bitwidth.
  bool may_compute_in_time(Size size) {
    for (const Bits bits : settings_.choices.ladder)
      if (costs_.layer(size.width, bits) * size.depth <= view_.budgets.latency) return true;
    return false;
  }

  // As published where storage can stream the highest coded bitwidth. Where it cannot, IO binds: time that compute leaves
  // buys bits, so IO gets all of it.
  std::optional<Start> pass_one(IoPlan& io, Size size) {
    const std::optional<Start> published = settings_.slack == Slack::kIo ? std::nullopt : start(io, size, Head::kLayerZero);
    const bool io_binds =
        !published || (!settings_.lowest_first && published->base < highest_coded(settings_.choices.ladder));
    if (!io_binds || (published && settings_.slack == Slack::kKeep)) return published;
    return start(io, size, Head::kAllSlack);
  }

  // The first bitwidth, in the order of pass 1, whose accumulated IO budgets hold.
  std::optional<Start> start(IoPlan& io, Size size, Head head) {
    const std::vector<Bits>& ladder = settings_.choices.ladder;
    const size_t rungs = ladder.size();
    for (size_t i = 0; i < rungs; ++i) {
      const Bits base = ladder[settings_.lowest_first ? i : rungs - 1 - i];
      if (io.start(base, head)) return Start{size, base, head};
    }
    return std::nullopt;
  }

  // Stage B, as published; nothing where the replay finds it late or too big.
  std::optional<Plan> plan_io(const Start& start) {
    IoPlan io(view_, trials_.residency(), costs_, start.size);
    io.start(start.base, start.head);
    const std::vector<Upgrade> upgrades = io.raise(importance(start.size), settings_.choices.ladder);
    std::optional<Plan> plan = fitting(start.size, io.bits(), true);
    if (plan) explain_sti(*plan, trials_.residency(), start.base, upgrades, upgrades.size());
    return plan;
  }

  // The replay found the published plan late or too big: what must give way, least important first.
  std::optional<Plan> degrade(Size size) {
    const bool buffer = keeps_any();
    for (const bool keep : {true, false}) {
      if (keep && !buffer) continue;
      for (auto base = settings_.choices.ladder.rbegin(); base != settings_.choices.ladder.rend(); ++base) {
        std::optional<Plan> plan = fitting(size, resident_bits(view_, trials_.residency(), size, *base), keep);
        if (plan) return raised(size, *base, std::move(*plan), keep);
      }
    }
    return std::nullopt;
  }

  // As many of pass 2's upgrades, the most important first, as the replay allows above a plan that fits.
  std::optional<Plan> raised(Size size, Bits base, Plan best, bool keep) {
    IoPlan io(view_, trials_.residency(), costs_, size);
    std::vector<Upgrade> upgrades;
    if (io.start(base, settings_.slack == Slack::kIo ? Head::kAllSlack : Head::kLayerZero) ||
        io.start(base, Head::kAllSlack))
      upgrades = io.raise(importance(size), settings_.choices.ladder);
    const int count = last_that_holds(1, static_cast<int>(upgrades.size()) + 1, [&](int k) {
      std::vector<Bits> bits = resident_bits(view_, trials_.residency(), size, base);
      for (int i = 0; i < k; ++i)
        bits[static_cast<size_t>(upgrades[i].id.layer) * view_.shape.slices + upgrades[i].id.slice] = upgrades[i].to;
      std::optional<Plan> plan = fitting(size, std::move(bits), keep);
      if (!plan) return false;
      best = std::move(*plan);
      return true;
    });
    explain_sti(best, trials_.residency(), base, upgrades, static_cast<size_t>(std::max(count, 0)));
    return best;
  }

  // At the lowest bitwidth, or at the one that computes fastest.
  bool fits_at_all(Size size) {
    const std::vector<Bits>& ladder = settings_.choices.ladder;
    Bits fastest = ladder.front();
    for (const Bits bits : ladder)
      if (costs_.layer(size.width, bits) < costs_.layer(size.width, fastest)) fastest = bits;
    const auto fits = [&](Bits bits) {
      return fitting(size, resident_bits(view_, trials_.residency(), size, bits), false).has_value();
    };
    return fits(ladder.front()) || (fastest != ladder.front() && fits(fastest));
  }

  std::vector<Plan> floors(Size size, Bits bits) {
    std::vector<Bits> all = resident_bits(view_, trials_.residency(), size, bits);
    if (placement_.several()) return placement_.floors(size.depth, all);
    return {assemble(view_, trials_.residency(), settings_.choices.device, size.depth, std::move(all))};
  }

  // The plan for such bits, placed, if its replay keeps the budgets.
  std::optional<Plan> fitting(Size size, std::vector<Bits> bits, bool keep) {
    const auto kept = [&](Plan plan) {
      if (keep && keeps_any()) keep_bottom_up(view_, trials_.residency(), plan, shards_to_keep(size), view_.budgets.preload);
      return plan;
    };
    if (placement_.several()) {
      std::vector<PlacedPlan> candidates = placement_.candidates(size.depth, bits);
      for (PlacedPlan& candidate : candidates) candidate.plan = kept(std::move(candidate.plan));
      return fastest_that_fits(trials_, std::move(candidates));
    }
    Plan plan = kept(assemble(view_, trials_.residency(), settings_.choices.device, size.depth, std::move(bits)));
    return trials_.fits(plan) ? std::optional(std::move(plan)) : std::nullopt;
  }

  bool keeps_any() const { return settings_.preload && view_.budgets.preload.n > 0; }

  size_t shards_to_keep(Size size) {
    const size_t all = static_cast<size_t>(size.depth) * size.width;
    if (settings_.fill_all) return all;
    if (!kept_for_ || *kept_for_ != size) {
      kept_for_ = size;
      kept_ = preload_buffer(view_, settings_.choices, costs_, size, false).shards.size();
    }
    return kept_;
  }

  const std::vector<ShardId>& importance(Size size) {
    if (ranked_for_ != size) {
      ranked_for_ = size;
      ranked_ = settings_.random_order ? in_random_order(view_, size) : by_importance(view_, size);
    }
    return ranked_;
  }

  Trials& trials_;
  const PlanningView& view_;
  const StiSettings& settings_;
  Placement placement_;
  Costs costs_;
  Size ranked_for_;
  std::vector<ShardId> ranked_;
  std::optional<Size> kept_for_;
  size_t kept_ = 0;
};

// The largest size if its buffer is resident, then what a cold request would run.
std::vector<Size> sizes_to_preload(const PlanningView& view, const StiSettings& settings, Costs& costs) {
  std::vector<Size> out;
  const auto size = largest_size(settings.choices, [&](Size candidate) {
    const Residency buffer = preload_buffer(view, settings.choices, costs, candidate, settings.fill_all);
    Trials trials(view, buffer);
    StiSettings one = settings;
    one.choices.depths = {candidate.depth};
    one.choices.widths = {candidate.width};
    return Planner(trials, one).plan_compute().has_value();
  });
  if (size) out.push_back(*size);
  const Residency none;
  Trials cold(view, none);
  const Result<Decision> decision = Planner(cold, settings).decide();
  if (decision.ok())
    if (const Plan* plan = std::get_if<Plan>(&*decision)) out.push_back({plan->depth, plan->width()});
  return out;
}

}  // namespace

Result<Decision> decide_sti(Trials& trials, const StiSettings& settings) { return Planner(trials, settings).decide(); }

Result<Residency> preload_sti(const PlanningView& view, const StiSettings& settings) {
  if (!settings.preload || view.budgets.preload.n <= 0) return Residency{};
  const Residency none;
  Placement placement(view, none, Split::kBalanced);
  Costs costs = sti_costs(settings, placement);
  for (const Size size : sizes_to_preload(view, settings, costs)) {
    const Residency wanted = preload_buffer(view, settings.choices, costs, size, settings.fill_all);
    if (wanted.shards.empty()) continue;
    Trials trials(view, wanted);
    TESSERA_ASSIGN(const Decision decision, Planner(trials, settings).decide());
    const Plan* plan = std::get_if<Plan>(&decision);
    // The buffer is made for one size: with it, exactly that (or more) must become possible.
    if (plan != nullptr && (plan->depth > size.depth || (plan->depth == size.depth && plan->width() >= size.width)))
      return wanted;
  }
  const Size smallest{settings.choices.depths.front(), settings.choices.widths.front()};
  return best_residency({preload_buffer(view, settings.choices, costs, smallest, settings.fill_all)},
                        [&](const Residency& residency) {
                          Trials trials(view, residency);
                          return Planner(trials, settings).decide();
                        });
}

}  // namespace tessera
