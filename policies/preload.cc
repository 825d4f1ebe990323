// Keeps a whole submodel in memory, so that a request loads nothing but its embedding rows (baseline PreloadModel).
//
// Optimises: depth, then width, that compute alone allows in the latency; then fidelity that memory allows.
// Algorithm: before requests (preload):
//            1. find the deepest, then widest submodel that fits memory in some form and, resident, computes in time
//            2. hold it decoded at the most bits if memory allows, else coded at the most bits that fit
//            for a request (decide):
//            3. run the largest submodel that is resident as a whole and fits; the rest stays resident where there is room
//            4. where none is (a cold start), load what is missing in a pipeline, and keep what the buffer allows
// Reference: baseline PreloadModel-full/-6bit of Guo, Choe, Lin, "STI", ASPLOS 2023, evaluation.
// Cost:      O(bitwidths * (log depths + log widths)) replays.
// Knobs:     bits (best): bitwidth of every shard; form (auto): decoded | coded.
#include <algorithm>

#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/knobs.h"
#include "policies/parts/size_search.h"
#include "policies/parts/uniform.h"

namespace tessera {
namespace {

// How a submodel is held.
struct Form {
  Bits bits = kAbsent;
  bool decoded = false;
};

// Decoded weights are fp32; the memory of a shard is whole pages.
Bytes held_bytes(const ModelShape& shape, ShardId id, Form form) {
  return form.decoded ? align_up({shape.shard_weights() * 4}, 4096) : shape.bytes_of(id, form.bits);
}

Residency whole_submodel(const ModelShape& shape, Size size, Form form) {
  Residency out;
  out.exits = {size.depth};
  out.shards.reserve(static_cast<size_t>(size.depth) * size.width);
  for (int l = 0; l < size.depth; ++l)
    for (int j = 0; j < size.width; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      out.shards.push_back({id, form.bits, form.decoded, held_bytes(shape, id, form)});
    }
  return out;
}

// Best form first. Only host memory holds decoded weights: over a link they would be many times the bytes.
std::vector<Form> forms(const PlanningView& view, const Choices& choices, const std::string& allowed) {
  std::vector<Form> out;
  const bool link = view.platform.space(choices.device) != kHostSpace;
  if (allowed != "coded" && !link) out.push_back({choices.ladder.back(), true});
  if (allowed != "decoded" || link)
    for (auto bits = choices.ladder.rbegin(); bits != choices.ladder.rend(); ++bits) out.push_back({*bits, false});
  return out;
}

bool all_resident(const Residency& residency, Size size, const std::vector<Bits>& ladder) {
  for (int l = 0; l < size.depth; ++l)
    for (int j = 0; j < size.width; ++j) {
      const ResidentShard* held = residency.find({static_cast<int16_t>(l), static_cast<int16_t>(j)});
      if (held == nullptr || std::find(ladder.begin(), ladder.end(), held->bits) == ladder.end()) return false;
    }
  return true;
}

class Preload final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "whole submodel resident, no load in the request (PreloadModel of STI, ASPLOS 2023)";
  }
  std::vector<KnobDescription> knobs() const override {
    return {bits_knob(),
            {"form", "", "auto", "how the submodel is held: auto (decoded where memory allows), decoded, or coded"}};
  }

  Result<Residency> preload(const PlanningView& view) override {
    std::string form;
    TESSERA_ASSIGN(const Choices choices, understood(view, form));
    Residency best;
    Status bug;
    largest_size(choices, [&](Size size) {
      for (const Form& candidate : forms(view, choices, form)) {
        Residency residency = whole_submodel(view.shape, size, candidate);
        Trials trials(view, residency);
        Plan plan = resident_plan(view, residency, choices, size);
        const bool fits = trials.fits(plan);
        if (!trials.status().ok()) bug = trials.status();
        if (!fits) continue;
        best = std::move(residency);
        return true;
      }
      return false;
    });
    TESSERA_TRY(bug);
    if (!best.shards.empty()) return best;
    std::vector<Residency> smallest;
    for (const Form& candidate : forms(view, choices, form))
      smallest.push_back(whole_submodel(view.shape, {choices.depths.front(), choices.widths.front()}, candidate));
    return best_residency(std::move(smallest), [&](const Residency& residency) {
      Trials trials(view, residency);
      return decide_with(trials, choices);
    });
  }

  Result<Decision> decide(const PlanningView& view) override {
    std::string form;
    TESSERA_ASSIGN(const Choices choices, understood(view, form));
    Trials trials(view, view.residency);
    TESSERA_ASSIGN(Decision decision, decide_with(trials, choices));
    if (auto* plan = std::get_if<Plan>(&decision)) {
      explain_all(*plan, "not resident: loaded in the request", plan->decoded ? "resident, decoded" : "resident, coded",
                  view.residency);
    }
    return decision;
  }

 private:
  Result<Choices> understood(const PlanningView& view, std::string& form) const {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(Choices choices, choices_of(view));
    TESSERA_TRY(narrow_by_bits_knob(view.knobs, choices));
    TESSERA_ASSIGN(form, knob_choice(view.knobs, "form", {"auto", "decoded", "coded"}));
    return choices;
  }

  // What this request has no time for stays in memory for the next one, where the budget has room for it.
  static bool fits_beside_the_rest(Trials& trials, Plan& plan) {
    plan.keep_unused = true;
    if (trials.fits(plan)) return true;
    plan.keep_unused = false;
    return trials.fits(plan);
  }

  static Plan resident_plan(const PlanningView& view, const Residency& residency, const Choices& choices, Size size) {
    Plan plan =
        assemble(view, residency, choices.device, size.depth, resident_bits(view, residency, size, choices.ladder.front()));
    plan.decoded = std::all_of(residency.shards.begin(), residency.shards.end(), [](const auto& s) { return s.decoded; });
    keep_bottom_up(view, residency, plan, 0, residency.total());
    return plan;
  }

  static Result<Decision> decide_with(Trials& trials, const Choices& choices) {
    const PlanningView& view = trials.view();
    const Residency& residency = trials.residency();
    Plan found;
    const auto resident_and_fits = [&](Size size) {
      if (!all_resident(residency, size, choices.ladder)) return false;
      Plan plan = resident_plan(view, residency, choices, size);
      if (!fits_beside_the_rest(trials, plan)) return false;
      found = std::move(plan);
      return true;
    };
    if (largest_size(choices, resident_and_fits)) return Decision{std::move(found)};
    TESSERA_TRY(trials.status());
    return decide_cold(trials, choices);
  }

  // Something must be loaded: the largest submodel at any bitwidth, then the most bits at which it fits.
  static Result<Decision> decide_cold(Trials& trials, const Choices& choices) {
    const PlanningView& view = trials.view();
    const Residency& residency = trials.residency();
    const auto build = [&](Size size, Bits bits) {
      return assemble(view, residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
    };
    Plan found;
    const auto fits = [&](Size size) {
      for (auto bits = choices.ladder.rbegin(); bits != choices.ladder.rend(); ++bits) {
        Plan plan = build(size, *bits);
        keep_bottom_up(view, residency, plan, plan.bits.size(), view.budgets.preload);
        bool fit = trials.fits(plan);
        if (!fit && !plan.keep.empty()) {
          plan.keep.clear();
          fit = trials.fits(plan);
        }
        if (!fit) continue;
        found = std::move(plan);
        return true;
      }
      return false;
    };
    if (largest_size(choices, fits)) return Decision{std::move(found)};
    TESSERA_TRY(trials.status());
    return decide_among_smallest(trials, choices, build);
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Preload)
