// Plans a layer-wise pipeline at one bitwidth: the standard way to overlap loading and computing (baseline StdPL).
//
// Optimises: depth, then width, of the submodel that meets the latency; then, among bitwidths, profiled accuracy.
// Algorithm: 1. for each bitwidth of the store, most bits first
//            2. find the deepest, then widest submodel whose replay keeps both budgets (the rule that sti uses)
//            3. load layer after layer in the order of compute, each as early as memory allows
//            4. take the bitwidth of least profiled loss; without a profile the most bits (StdPL-full)
// Reference: baseline StdPL-full/-2bit/-6bit of Guo, Choe, Lin, "STI", ASPLOS 2023, evaluation.
// Cost:      O(bitwidths * (log depths + log widths)) replays.
// Knobs:     bits (best): bitwidth of every shard.
#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/knobs.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

class StdPipeline final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "layer-wise load/compute pipeline at one bitwidth, largest submodel in time (StdPL of STI, ASPLOS 2023)";
  }
  std::vector<KnobDescription> knobs() const override { return {bits_knob()}; }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    TESSERA_TRY(narrow_by_bits_knob(view.knobs, choices));
    Trials trials(view, view.residency);
    TESSERA_ASSIGN(Decision decision, decide_uniform(trials, choices, [&](Size size, Bits bits) {
                     return assemble(view, view.residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
                   }));
    if (auto* plan = std::get_if<Plan>(&decision))
      explain_all(*plan, "loaded with its layer, one bitwidth for all", "resident at this bitwidth", view.residency);
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::StdPipeline)
