// Spreads each layer over the devices so that it ends as early as it can: heterogeneous earliest finish time.
//
// Optimises: depth, then width, of the submodel in time; then, among bitwidths, profiled accuracy; then latency.
// Algorithm: 1. for each bitwidth of the store, most bits first, find the deepest, then widest submodel in time
//            2. place its layers by upward rank (the order in which they stand: each needs the one before) on what ends
//               earliest with transfers, loads and what was placed before: one device, the balanced split of the slices over
//               several (parts of attention and FFN, joined at home), or the layer before's split
//            3. load a layer's parts by upward rank too: first the weights of who has the longest way to its end
//            4. leave out what a device's own memory cannot hold; try each home, and each device alone
//            5. the replay decides: the fastest candidate that keeps both budgets; keep what costs nothing
// Reference: Topcuoglu, Hariri, Wu, "Performance-Effective and Low-Complexity Task Scheduling for Heterogeneous Computing",
//            IEEE TPDS 13(3), 2002. Here a task may be split, and lanes run in plan order: there are no gaps to insert into.
// Cost:      O(homes * depth * devices) lane simulations a submodel and O(devices^2 * slices^2) a kind of layer;
//            O(bitwidths * (log depths + log widths)) submodels, one or two replays each.
// Knobs:     bits (best): bitwidth of every shard.
#include "framework/registry.h"
#include "policies/parts/knobs.h"
#include "policies/parts/placement.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

class Heft final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "layers split over devices by upward rank and earliest finish (HEFT: Topcuoglu, Hariri, Wu, TPDS 2002)";
  }
  std::vector<KnobDescription> knobs() const override { return {bits_knob()}; }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    TESSERA_TRY(narrow_by_bits_knob(view.knobs, choices, Computes::kSeveral));
    Trials trials(view, view.residency);
    Placement placement(view, view.residency, Split::kBalanced);
    TESSERA_ASSIGN(Decision decision, decide_placed(trials, choices, placement));
    if (auto* plan = std::get_if<Plan>(&decision)) {
      keep_what_is_free(trials, *plan);
      explain_placement(view.platform, *plan, "earliest finish");
    }
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Heft)
