// Runs exactly what was given by hand: --depth, --width, --bits; what is not given is the full model's.
//
// Optimises: nothing. One submodel at one bitwidth, its loads and computes overlapped, or a plain answer that it does not
// fit. Algorithm: 1. n x m at b bits as given; the deepest, the widest and the most bits where not
//            2. loads in layer order; what is resident at those bits is not loaded
//            3. the replay decides: in budgets, or infeasible with the nearest that would do
// Reference: the prototype of STI takes n, m by hand in the same way.
// Cost:      one replay; where infeasible, O(log memory) more.
// Knobs:     none
// Devices:   the first of the user's order that can.
#include <string>

#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/knobs.h"
#include "policies/parts/one_device.h"
#include "policies/parts/placement.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

class Fixed final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "exactly --depth, --width and --bits as given, else the full model's; or infeasible";
  }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_ASSIGN(const Choices choices, understood(view));
    return decide_with(view, choices, view.residency);
  }

  Result<Residency> preload(const PlanningView& view) override {
    TESSERA_ASSIGN(const Choices choices, understood(view));
    return preload_for(view, choices, [&](const Residency& residency) { return decide_with(view, choices, residency); });
  }

 private:
  Result<Choices> understood(const PlanningView& view) const {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices out, choices_of(view));
    out.depths = {out.depths.back()};
    out.widths = {out.widths.back()};
    out.ladder = {out.ladder.back()};
    return out;
  }

  static Result<Decision> decide_with(const PlanningView& view, const Choices& choices, const Residency& residency) {
    Trials trials(view, residency);
    const auto build = [&](Size size, Bits bits) {
      Plan plan = assemble(view, residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
      explain_all(plan, "as given", "as given, resident", residency);
      return plan;
    };
    TESSERA_ASSIGN(Decision decision, decide_among_smallest(trials, choices, BuildFloor(build)));
    if (Plan* plan = std::get_if<Plan>(&decision)) {
      const bool fits = plan->predicted.latency <= view.budgets.latency;
      if (fits && view.budgets.preload.n > 0) keep_what_is_free(trials, *plan);
    } else if (std::string& why = std::get<Infeasible>(decision).why; why.starts_with("the smallest submodel")) {
      why.replace(0, std::string("the smallest submodel").size(), "nothing is given by hand, and the full model");
    }
    return decision;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Fixed)
