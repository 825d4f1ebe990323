// Splits every layer evenly over all devices, however fast each is: the static partition that balanced splits are held
// against.
//
// Optimises: depth, then width, of the submodel that meets the latency; then, among bitwidths, profiled accuracy.
// Algorithm: 1. for each bitwidth of the store, most bits first
//            2. deal a layer's slices to the devices that can compute parts, one after the other, in the user's order
//            3. find the deepest, then widest submodel whose replay keeps both budgets; embedding, joins and the exit head
//            run
//               on the first device that can, those that compute in host memory first
//            4. take the bitwidth of least profiled loss; without a profile the most bits
// Reference: the equal ("homogeneous") partition of StarPU's and Taskflow's examples; a baseline, and a quick check that all
//            devices answer alike.
// Cost:      O(bitwidths * (log depths + log widths)) replays.
// Knobs:     bits (best): bitwidth of every shard.
#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/device_roles.h"
#include "policies/parts/knobs.h"
#include "policies/parts/placement.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

std::vector<LayerPart> deal(SliceMask slices, const std::vector<DeviceId>& devices) {
  std::vector<LayerPart> parts;
  for (const DeviceId device : devices) parts.push_back({device, 0});
  size_t next = 0;
  for (SliceMask rest = slices; rest != 0; rest &= rest - 1) parts[next++ % parts.size()].slices |= rest & -rest;
  std::erase_if(parts, [](const LayerPart& part) { return part.slices == 0; });
  return parts;
}

class EvenSplit final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "every layer split evenly over all devices, whatever their speed (static partition, a baseline)";
  }
  std::vector<KnobDescription> knobs() const override { return {bits_knob()}; }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    TESSERA_TRY(narrow_by_bits_knob(view.knobs, choices, Computes::kSeveral));
    const DeviceRoles roles = roles_of(view, choices.widths.back(), choices.ladder);
    const bool several = roles.parts.size() > 1 && !roles.homes.empty();
    Trials trials(view, view.residency);
    TESSERA_ASSIGN(Decision decision, decide_uniform(trials, choices, [&](Size size, Bits bits) {
                     Plan plan =
                         assemble(view, view.residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
                     if (!several) return plan;
                     for (int l = 0; l < plan.depth; ++l) plan.placement[l] = deal(plan.slice_set(l), roles.parts);
                     plan.home = roles.homes.front();
                     list_loads(view, view.residency, plan);
                     return plan;
                   }));
    if (auto* plan = std::get_if<Plan>(&decision)) explain_placement(view.platform, *plan, "an even share");
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::EvenSplit)
