// Plans submodel, bitwidths and loads so that a request neither stalls nor runs late: STI's two-stage planner.
//
// Optimises: depth, then width, that compute allows in the latency; then bits of the most important shards.
// Algorithm: 1. compute planning: deepest, then widest n x m with n * T_comp(m), overheads and layer 0's load in the target
//            2. pass 1: one bitwidth for every shard that is not resident, the highest that keeps all accumulated IO budgets
//            3. pass 2: in importance order, raise shards through the store's bitwidths up to exact while budgets last
//            4. the replay decides: where memory stalls it or makes it too big, lower the least important upgrades first,
//               then the uniform bits, then width, then depth
// Reference: Guo, Choe, Lin, "STI: Turbocharge NLP Inference at the Edge via Elastic Pipelining", ASPLOS 2023, section 5;
//            AIB recurrence of its Fig. 6. Here no budget is ever overdrawn (its prototype stops one shard too late), no
//            bitwidth of the store is skipped, and what cannot be on time is infeasible instead of late.
// Cost:      O(sizes * bitwidths * nm) additions, one replay where no memory stalls; else O(log) replays of each stage.
// Knobs:     pass1 (highest): highest | lowest uniform bitwidth of pass 1 (its prototype: lowest)
//            slack (auto): keep | io: who gets what compute leaves of the target: nobody (as published) or IO; auto: IO
//            where it cannot stream the highest coded bitwidth, for there the published rule drops bits with time to spare
//            fill (needed): needed | all: the preload buffer holds, bottom layers first, what spares compute a stall,
//            or all that fits
//            importance (profile): profile | random: order of pass 2, as profiled or drawn from the request's seed
//            preload (on): on | off: off holds nothing before a request and keeps nothing after it
// Devices:   one, as published; where a request may compute on several, T_comp is that of the placed layer (parts/placement)
//            and each submodel is placed as `heft` does
#include "framework/registry.h"
#include "policies/parts/knobs.h"
#include "policies/parts/sti_planner.h"

namespace tessera {
namespace {

class Sti final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "elastic shards, accumulated IO budgets, preload buffer (STI: Guo, Choe, Lin, ASPLOS 2023)";
  }
  std::vector<KnobDescription> knobs() const override {
    return {
        {"pass1", "", "highest", "uniform bitwidth of pass 1: highest that IO sustains (paper), or lowest (prototype)"},
        {"slack", "", "auto",
         "what compute leaves of the target: kept (keep, as published), for IO (io), or for IO where it cannot stream the "
         "highest coded bitwidth (auto)"},
        {"fill", "", "needed", "preload buffer, bottom layers first: what spares compute a stall (needed), or all"},
        {"importance", "", "profile", "order of pass 2: as profiled, or drawn from the request's seed (random)"},
        {"preload", "", "on", "off: nothing is held before a request, and nothing kept after it"}};
  }

  Result<Residency> preload(const PlanningView& view) override {
    TESSERA_ASSIGN(const StiSettings settings, understood(view));
    return preload_sti(view, settings);
  }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_ASSIGN(const StiSettings settings, understood(view));
    Trials trials(view, view.residency);
    return decide_sti(trials, settings);
  }

 private:
  Result<StiSettings> understood(const PlanningView& view) const {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    StiSettings out;
    TESSERA_ASSIGN(out.choices, choices_of(view));
    if (view.compute_devices.size() > 1) out.choices.ladder = out.choices.anywhere;
    TESSERA_ASSIGN(const std::string pass1, knob_choice(view.knobs, "pass1", {"highest", "lowest"}));
    TESSERA_ASSIGN(const std::string slack, knob_choice(view.knobs, "slack", {"auto", "keep", "io"}));
    TESSERA_ASSIGN(const std::string fill, knob_choice(view.knobs, "fill", {"needed", "all"}));
    TESSERA_ASSIGN(const std::string order, knob_choice(view.knobs, "importance", {"profile", "random"}));
    TESSERA_ASSIGN(const std::string preload, knob_choice(view.knobs, "preload", {"on", "off"}));
    out.random_order = order == "random";
    out.preload = preload == "on";
    out.lowest_first = pass1 == "lowest";
    out.slack = slack == "io" ? Slack::kIo : slack == "keep" ? Slack::kKeep : Slack::kAuto;
    out.fill_all = fill == "all";
    return out;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Sti)
