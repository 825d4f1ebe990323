// Spends the same budgets at random: the baseline that every rule of choice must beat.
//
// Optimises: nothing. Of the sizes and shards that fit, it draws by the request's seed.
// Algorithm: 1. draws an n x m among those that are in time with every shard at the lowest bits, or as it is resident
//            2. shuffles every raise of every shard (Fisher, Yates)
//            3. makes those that the exact clock of the pipeline allows, in that order, until none does
//            4. the replay decides: where memory makes it late or too big, the last raises are undone, then another size
//            drawn
// Cost:      O(nm * bitwidths * log n), two replays where memory binds nothing, else O(log nm) a size, 8 sizes at most.
// Knobs:     none; the seed is the request's (--seed)
// Devices:   the first of the user's order that can.
#include "framework/random.h"

#include <utility>

#include "framework/registry.h"
#include "policies/parts/knobs.h"
#include "policies/parts/one_device.h"

namespace tessera {
namespace {

constexpr int kDraws = 8;

class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}
  size_t below(size_t n) { return static_cast<size_t>(splitmix64(state_) % n); }

 private:
  uint64_t state_;
};

class RandomChoice final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "sizes and raises drawn by the seed, within the same budgets (baseline)";
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
    return choices_of(view);
  }

  static Result<Decision> decide_with(const PlanningView& view, const Choices& choices, const Residency& residency) {
    Trials trials(view, residency);
    OneDevice device(trials, choices);
    Generator random(view.seed);
    std::vector<Size> sizes = device.sizes_in_time();
    for (int draw = 0; draw < kDraws && !sizes.empty(); ++draw) {
      const size_t at = random.below(sizes.size());
      if (auto plan = drawn(device, choices, sizes[at], random)) return Decision{std::move(*plan)};
      sizes.erase(sizes.begin() + static_cast<ptrdiff_t>(at));
    }
    if (const std::optional<Size> size = device.largest())
      if (auto plan = drawn(device, choices, *size, random)) return Decision{std::move(*plan)};
    TESSERA_TRY(trials.status());
    return device.smallest();
  }

  static std::optional<Plan> drawn(OneDevice& device, const Choices& choices, Size size, Generator& random) {
    std::vector<Raise> raises;
    for (int l = 0; l < size.depth; ++l)
      for (int j = 0; j < size.width; ++j)
        for (const Bits to : choices.ladder) raises.push_back({{static_cast<int16_t>(l), static_cast<int16_t>(j)}, to});
    for (size_t i = raises.size(); i > 1; --i) std::swap(raises[i - 1], raises[random.below(i)]);
    const std::vector<Bits> bits = device.lowest(size);
    device.raised(size.depth, bits, raises);
    std::optional<Plan> plan = device.fitting(size.depth, bits, raises);
    if (!plan) return plan;
    for (int l = 0; l < size.depth; ++l)
      for (int j = 0; j < size.width; ++j)
        plan->explain.push_back({{static_cast<int16_t>(l), static_cast<int16_t>(j)}, "drawn by the seed"});
    return plan;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::RandomChoice)
