// Plans to read as little as possible: the lowest bitwidth that the store has, for flash that wears or a bus that is busy.
//
// Optimises: bytes read, then depth, then width, within the latency and memory budgets.
// Algorithm: 1. take the lowest bitwidth of the store (or the one given by hand)
//            2. find the deepest, then widest submodel that keeps both budgets (by replay)
// Reference: none; an example of a policy that is built outside of the tree.
// Cost:      O(log depths + log widths) replays.
// Knobs:     none.
#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/knobs.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

class LeastRead final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override { return "reads as little as possible: the lowest bitwidth for every shard"; }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    choices.ladder = {choices.ladder.front()};
    Trials trials(view, view.residency);
    TESSERA_ASSIGN(Decision decision, decide_uniform(trials, choices, [&](Size size, Bits bits) {
                     return assemble(view, view.residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
                   }));
    if (auto* plan = std::get_if<Plan>(&decision))
      explain_all(*plan, "the lowest bitwidth reads least", "resident at the lowest bitwidth", view.residency);
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::LeastRead)
