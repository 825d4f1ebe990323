// Plans depth, slices and bits together, so that profiled loss is least within both budgets: STI's mechanism, without the
// rules of thumb of its planner.
//
// Optimises: loss of the accuracy model; never above sti's at equal budgets and residents, for sti's plan is a candidate.
// Algorithm: 1. start from sti's plan: where there is none, its answer (the nearest budgets) is the answer
//            2. for depths from sti's outwards, as long as there is hope, relax the deadlines of all stages and the room in
//               memory: prices of IO and compute time for each layer, by subgradient steps; at given prices each layer picks
//               its slices and bits by itself (parts/price_search)
//            3. raise all prices together until the exact clock (memory counted) says that it fits
//            4. in the best two depths, exchange: one layer gives or takes time or room, others follow (parts/exchange)
//            5. the replay decides; what it refuses is not taken, and sti's plan stays where the gain is too small to be
//            told
// In flight: when loads or computes come slower or faster than planned, or a budget changes, what is left is planned anew by
//            loss for each ns of lateness, and the next layer is lowered, narrowed or raised accordingly (parts/replan)
// Reference: relaxation: Fisher, Management Science 27(1), 1981; steps: parts/price_search.h.
// Cost:      O(depths * rounds * L * M * (bitwidths + log M)), sti's, and two to five replays.
// Knobs:     all on | off, default on, to see what each idea adds: slack (IO runs ahead by all that compute leaves of the
//            target), joint (n, m and bits at once; off: sti's size), sets (any slices of a layer; off: the first), widths
//            (by layer; off: one), sensitivity (profiled losses; off: raw importance, each bit a quarter of the loss),
//            quantile (the request's; off: the middle of the cost models), upgrade (residents may be loaded anew), replan
//            (in flight)
// Devices:   as sti: several are placed by parts/placement, timed by their lanes; step 4 is for one device only
#include <algorithm>
#include <utility>

#include "framework/registry.h"
#include "policies/parts/elastic_search.h"
#include "policies/parts/knobs.h"
#include "policies/parts/preload_buffer.h"
#include "policies/parts/replan.h"
#include "policies/parts/sti_planner.h"

namespace tessera {
namespace {

struct Settings {
  StiSettings sti;
  ElasticIdeas ideas;
  bool sensitivity = true;
  bool quantile = true;
};

// Raw importance in the place of sensitivity: what STI's probe ranks by, a quarter of it lost for each bit.
AccuracyModel by_raw_importance(const AccuracyModel& profiled) {
  AccuracyModel out = profiled;
  if (profiled.importance_accuracy.empty()) return out;
  const auto [least, most] = std::minmax_element(profiled.importance_accuracy.begin(), profiled.importance_accuracy.end());
  const int64_t floor = least->n - (most->n - least->n) / 8 - 1;
  for (size_t i = 0; i < profiled.importance_accuracy.size(); ++i)
    for (int level = 0; level < kBitsLevels; ++level) {
      const int64_t weight = profiled.importance_accuracy[i].n - floor;
      const bool exact = level_bits(level) == kExact;
      out.sensitivity[i * kBitsLevels + level] = {level == 0 ? weight : exact ? 0 : weight >> (2 * level - 1)};
    }
  return out;
}

// The view as the ideas that are on would see it.
struct Seen {
  Seen(const PlanningView& view, const Settings& settings)
      : importance(settings.sensitivity ? AccuracyModel{} : by_raw_importance(view.accuracy)),
        seen{view.shape,    settings.sensitivity ? view.accuracy : importance,
             view.platform, view.costs,
             view.replay,   view.residency,
             view.budgets,  view.compute_devices,
             view.storage,  view.tokens,
             view.seed,     view.best_effort,
             view.depth,    view.width,
             view.bits,     settings.quantile ? view.quantile : 0.5,
             view.knobs,    view.supports} {}
  const AccuracyModel importance;
  const PlanningView seen;
};

class Elastic final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "depth, slices and bits at once by priced time, exchanged and re-planned in flight (Tessera's own)";
  }
  std::vector<KnobDescription> knobs() const override {
    return {{"slack", "", "on", "off: compute starts when layer 0 is there, and IO never runs further ahead"},
            {"joint", "", "on", "off: sti's depth and width"},
            {"sets", "", "on", "off: the first slices of each layer"},
            {"widths", "", "on", "off: one width for all layers"},
            {"sensitivity", "", "on", "off: raw importance in the place of profiled losses"},
            {"quantile", "", "on", "off: plans with the middle of the cost models, whatever quantile is asked for"},
            {"upgrade", "", "on", "off: what is resident is used as it is held"},
            {"replan", "", "on", "off: a running request is left alone"}};
  }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_ASSIGN(const Settings settings, understood(view));
    const Seen seen(view, settings);
    return decide_with(seen.seen, settings, view.residency);
  }

  bool replans(const Knobs& knobs) const override {
    const auto given = knobs.find("replan");
    return given == knobs.end() || given->second != "off";
  }
  void on_event(const Event& event, PlanEditor& editor) override { reviser_.on_event(event, editor); }

  // sti's buffer, or one made for this policy's own plan, whichever loses less.
  Result<Residency> preload(const PlanningView& view) override {
    TESSERA_ASSIGN(const Settings settings, understood(view));
    const Seen seen(view, settings);
    TESSERA_ASSIGN(Residency best, preload_sti(seen.seen, settings.sti));
    if (view.budgets.preload.n <= 0) return best;
    TESSERA_ASSIGN(std::optional<Plan> plan, plan_with(seen.seen, settings, best));
    if (!plan) return best;
    for (int round = 0; round < kBufferRounds; ++round) {
      Residency next = bottom_of(view, *plan);
      TESSERA_ASSIGN(std::optional<Plan> other, plan_with(seen.seen, settings, next));
      if (!other || loss(seen.seen, *other) >= loss(seen.seen, *plan)) break;
      best = std::move(next);
      plan = std::move(other);
    }
    return best;
  }

 private:
  static constexpr int kBufferRounds = 3;

  Reviser reviser_;  // of the request that runs

  static Micro loss(const PlanningView& view, const Plan& plan) { return view.accuracy.loss(plan.depth, plan.bits); }

  Result<Settings> understood(const PlanningView& view) const {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    Settings out;
    TESSERA_ASSIGN(out.sti.choices, choices_of(view));
    if (view.compute_devices.size() > 1) out.sti.choices.ladder = out.sti.choices.anywhere;
    bool replan = true;
    const std::pair<const char*, bool*> all[] = {{"slack", &out.ideas.slack},       {"joint", &out.ideas.joint},
                                                 {"sets", &out.ideas.sets},         {"widths", &out.ideas.widths},
                                                 {"sensitivity", &out.sensitivity}, {"quantile", &out.quantile},
                                                 {"upgrade", &out.ideas.upgrade},   {"replan", &replan}};
    for (const auto& [name, idea] : all) {
      TESSERA_ASSIGN(const std::string value, knob_choice(view.knobs, name, {"on", "off"}));
      *idea = value == "on";
    }
    return out;
  }

  static Result<Decision> decide_with(const PlanningView& view, const Settings& settings, const Residency& residency) {
    Trials trials(view, residency);
    TESSERA_ASSIGN(Decision decision, decide_sti(trials, settings.sti));
    Plan* start = std::get_if<Plan>(&decision);
    if (start == nullptr || start->predicted.latency > view.budgets.latency) return decision;
    std::optional<Plan> better = ElasticSearch(trials, settings.sti.choices, settings.ideas).improve(*start);
    TESSERA_TRY(trials.status());
    if (!better) return decision;
    if (view.budgets.preload.n > 0) keep_what_is_free(trials, *better);
    return Decision{std::move(*better)};
  }

  static Result<std::optional<Plan>> plan_with(const PlanningView& view, const Settings& settings,
                                               const Residency& residency) {
    TESSERA_ASSIGN(Decision decision, decide_with(view, settings, residency));
    Plan* plan = std::get_if<Plan>(&decision);
    if (plan == nullptr) return std::optional<Plan>{};
    return std::optional<Plan>{std::move(*plan)};
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Elastic)
