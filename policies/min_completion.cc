// Gives each slice to the device where it completes first: the greedy rule of run-time schedulers, used ahead of time.
//
// Optimises: depth, then width, of the submodel in time; then, among bitwidths, profiled accuracy; then latency.
// Algorithm: 1. for each bitwidth of the store, most bits first, find the deepest, then widest submodel in time
//            2. layer by layer, slice by slice in plan order: to the device whose part then completes first, given when its
//               lane, its input, its loads and its transfers would be through; no looking ahead, no going back
//            3. or the whole layer on one device, or split like the layer before, where that completes earlier
//            4. leave out what a device's own memory cannot hold; try each home, and each device alone
//            5. the replay decides: the fastest candidate that keeps both budgets; keep what costs nothing
// Reference: MCT of Maheswaran, Ali, Siegel, Hensgen, Freund, "Dynamic Matching and Scheduling of a Class of Independent
//            Tasks onto Heterogeneous Computing Systems", HCW 1999; with transfers as in StarPU's dmda (Augonnet, Thibault,
//            Namyst, Wacrenier, "StarPU", CCPE 23(2), 2011).
// Cost:      O(homes * depth * slices * devices) a submodel; O(bitwidths * (log depths + log widths)) submodels, one or two
//            replays each.
// Knobs:     bits (best): bitwidth of every shard.
#include "framework/registry.h"
#include "policies/parts/knobs.h"
#include "policies/parts/placement.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

class MinCompletion final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "slices go to where they complete first, transfers and loads counted (MCT: Maheswaran et al., HCW 1999)";
  }
  std::vector<KnobDescription> knobs() const override { return {bits_knob()}; }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    TESSERA_TRY(narrow_by_bits_knob(view.knobs, choices, Computes::kSeveral));
    Trials trials(view, view.residency);
    Placement placement(view, view.residency, Split::kGreedy);
    TESSERA_ASSIGN(Decision decision, decide_placed(trials, choices, placement));
    if (auto* plan = std::get_if<Plan>(&decision)) {
      keep_what_is_free(trials, *plan);
      explain_placement(view.platform, *plan, "completes first");
    }
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::MinCompletion)
