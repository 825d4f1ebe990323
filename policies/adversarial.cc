// Plans at random, but legally and within budgets: to show that decisions never change answers.
//
// Optimises: nothing; varies everything a plan may vary: depth, slice sets, bits, load order and grouping, splits over
//            devices, what is kept, pipelining.
// Algorithm: 1. draw a plan from the seed; the later the try, the smaller the submodel it is drawn from
//            2. keep the first whose replay keeps both budgets
//            3. after 24 tries fall back to the smallest submodels
// Reference: the adversarial mapper of Legion's tutorial (09_custom_mapper).
// Cost:      at most 24 replays, and those of the smallest submodels.
// Knobs:     none; the request's seed.
#include <algorithm>

#include "framework/random.h"
#include "framework/registry.h"
#include "policies/parts/assembly.h"
#include "policies/parts/choices.h"
#include "policies/parts/device_roles.h"
#include "policies/parts/knobs.h"
#include "policies/parts/nearest.h"

namespace tessera {
namespace {

constexpr int kTries = 24;

class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t next() { return splitmix64(state_); }
  int below(int n) { return static_cast<int>(next() % static_cast<uint64_t>(n)); }
  bool one_in(int n) { return below(n) == 0; }
  template <typename T>
  const T& of(const std::vector<T>& values) {
    return values[static_cast<size_t>(below(static_cast<int>(values.size())))];
  }
  template <typename T>
  void shuffle(std::vector<T>& values, size_t from, size_t to) {
    for (size_t i = to; i > from + 1; --i)
      std::swap(values[i - 1], values[from + static_cast<size_t>(below(static_cast<int>(i - from)))]);
  }

 private:
  uint64_t state_;
};

// Draws one plan. `room`: of how many of the depths and widths, in percent, it may choose.
class Draw {
 public:
  Draw(const PlanningView& view, const Choices& choices, Dice& dice, int room)
      : view_(view), choices_(choices), dice_(dice), room_(room) {
    const DeviceRoles roles = roles_of(view, choices.widths.back(), choices.ladder);
    homes_ = roles.homes;
    for (const DeviceId device : roles.layers)
      if (std::find(roles.parts.begin(), roles.parts.end(), device) != roles.parts.end()) devices_.push_back(device);
    if (devices_.empty()) devices_.push_back(choices.device);
  }

  Plan plan() {
    const int depth = pick(choices_.depths);
    std::vector<Bits> bits(static_cast<size_t>(depth) * view_.shape.slices, kAbsent);
    const bool mixed_widths = dice_.one_in(2);
    const int width = pick(choices_.widths);
    for (int l = 0; l < depth; ++l) draw_layer(bits, l, mixed_widths ? pick(choices_.widths) : width);
    Plan plan = assemble(view_, view_.residency, choices_.device, depth, std::move(bits));
    for (int l = 0; l < depth; ++l) place(plan, l);
    plan.home.reset();
    const bool anyone = homes_.size() == view_.compute_devices.size();
    if (dice_.one_in(2) || !anyone) plan.home = dice_.of(homes_);
    list_loads(view_, view_.residency, plan);
    split_loads(plan);
    reorder_loads(plan);
    plan.pipelined = !dice_.one_in(4);
    keep_some(plan);
    return plan;
  }

 private:
  int pick(const std::vector<int>& values) {
    const size_t most = std::max<size_t>(1, values.size() * static_cast<size_t>(room_) / 100);
    return values[static_cast<size_t>(dice_.below(static_cast<int>(most)))];
  }

  // Any slices, not only the first; residents half of the time as they are held.
  void draw_layer(std::vector<Bits>& bits, int layer, int width) {
    std::vector<int> slices(view_.shape.slices);
    for (int j = 0; j < view_.shape.slices; ++j) slices[j] = j;
    dice_.shuffle(slices, 0, slices.size());
    for (int i = 0; i < width; ++i) {
      const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(slices[i])};
      const ResidentShard* held = view_.residency.find(id);
      const bool reuse = held != nullptr && dice_.one_in(2) && view_.shape.has_bits(held->bits) && !view_.bits;
      bits[static_cast<size_t>(layer) * view_.shape.slices + slices[i]] = reuse ? held->bits : dice_.of(choices_.ladder);
    }
  }

  // One device, or a split of the slices over several.
  void place(Plan& plan, int layer) {
    std::vector<LayerPart> parts;
    for (const DeviceId device : devices_) parts.push_back({device, 0});
    dice_.shuffle(parts, 0, parts.size());
    if (dice_.one_in(2)) parts.resize(1);
    const SliceMask set = plan.slice_set(layer);
    for (SliceMask rest = set; rest != 0; rest &= rest - 1) dice_pick(parts).slices |= rest & -rest;
    std::erase_if(parts, [](const LayerPart& part) { return part.slices == 0; });
    plan.placement[layer] = std::move(parts);
  }
  LayerPart& dice_pick(std::vector<LayerPart>& parts) {
    return parts[static_cast<size_t>(dice_.below(static_cast<int>(parts.size())))];
  }

  // Some loads bring their slices in two pieces.
  void split_loads(Plan& plan) {
    const size_t count = plan.loads.size();
    for (size_t i = 0; i < count; ++i) {
      PlannedLoad& load = plan.loads[i];
      const SliceMask part = load.slices & dice_.next();
      if (load.op != Op::kLoadShards || part == 0 || part == load.slices || dice_.one_in(2)) continue;
      PlannedLoad other = load;
      load.slices &= ~part;
      other.slices = part;
      plan.loads.push_back(other);
    }
  }

  // Any order; in half of the plans layer by layer, so that tight memory leaves some that run.
  void reorder_loads(Plan& plan) {
    dice_.shuffle(plan.loads, 0, plan.loads.size());
    if (dice_.one_in(2))
      std::stable_sort(plan.loads.begin(), plan.loads.end(), [](const PlannedLoad& a, const PlannedLoad& b) {
        const auto when = [](const PlannedLoad& load) { return load.op == Op::kLoadExit ? INT16_MAX : load.layer; };
        return when(a) < when(b);
      });
  }

  void keep_some(Plan& plan) {
    Bytes room = view_.budgets.preload;
    for (int l = 0; l < plan.depth; ++l)
      for (int j = 0; j < plan.slices; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        const Bits bits = plan.bits_of(id);
        if (bits == kAbsent || !dice_.one_in(2)) continue;
        const ResidentShard* held = view_.residency.find(id);
        const Bytes bytes = held != nullptr && held->bits == bits ? held->bytes : view_.shape.bytes_of(id, bits);
        if (bytes > room) continue;
        room -= bytes;
        plan.keep.push_back(id);
      }
  }

  const PlanningView& view_;
  const Choices& choices_;
  Dice& dice_;
  const int room_;
  std::vector<DeviceId> devices_, homes_;  // that take layers and parts; that embed, join and exit
};

class Adversarial final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "random legal plans within the budgets, by --seed: decisions never change answers (after Legion's mapper)";
  }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    TESSERA_ASSIGN(const Choices choices, choices_of(view));
    Trials trials(view, view.residency);
    Dice dice(view.seed);
    for (int i = 0; i < kTries; ++i) {
      Plan plan = Draw(view, choices, dice, 100 - 100 * i / kTries).plan();
      const bool fits = trials.fits(plan);
      TESSERA_TRY(trials.status());
      if (fits) return Decision{std::move(plan)};
    }
    return decide_among_smallest(trials, choices, [&](Size size, Bits bits) {
      return assemble(view, view.residency, choices.device, size.depth, uniform_bits(view.shape, size, bits));
    });
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Adversarial)
