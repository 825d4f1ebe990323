// Plans to load the whole submodel first, then to run it: what a program does that knows no pipeline (baseline Load&Exec).
//
// Optimises: depth, then width, of the submodel that meets the latency; then, among bitwidths, profiled accuracy.
// Algorithm: 1. for each bitwidth of the store, most bits first
//            2. find the deepest, then widest submodel whose load plus compute (by replay) keeps both budgets
//            3. take the bitwidth of least profiled loss; without a profile the most bits
// Reference: baseline Load&Exec of Guo, Choe, Lin, "STI", ASPLOS 2023, evaluation.
// Cost:      O(bitwidths * (log depths + log widths)) replays.
// Knobs:     bits (best): bitwidth of every shard.
#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/knobs.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

class LoadExec final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "loads the submodel, then runs it, at one bitwidth (Load&Exec of STI, ASPLOS 2023)";
  }
  std::vector<KnobDescription> knobs() const override { return {bits_knob()}; }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    TESSERA_TRY(narrow_by_bits_knob(view.knobs, choices));
    Trials trials(view, view.residency);
    TESSERA_ASSIGN(Decision decision, decide_uniform(trials, choices, [&](Size size, Bits bits) {
                     Plan plan =
                         assemble(view, view.residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
                     plan.pipelined = false;
                     return plan;
                   }));
    if (auto* plan = std::get_if<Plan>(&decision))
      explain_all(*plan, "loaded before any compute, one bitwidth for all", "resident at this bitwidth", view.residency);
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::LoadExec)
