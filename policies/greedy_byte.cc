// Spends each byte of IO where it saves most loss: STI's sizes, importance per byte in the place of its two passes.
//
// Optimises: depth, then width, that the latency allows at the lowest bits; then profiled loss saved for each byte read.
// Algorithm: 1. the deepest, then widest n x m that is in time with every shard at the lowest bits, or as it is resident
//            2. every raise of every shard, by gain of loss for each further byte (or ns of IO), the best first
//            3. make those that the exact clock of the pipeline allows; one that does not fit is left, and the rest go on
//            4. the replay decides: where memory makes it late or too big, the last raises are undone
// Reference: greedy knapsack: Dantzig, Discrete-Variable Extremum Problems, Operations Research 5(2), 1957.
// Cost:      O(nm * bitwidths * log(nm)), two replays where memory binds nothing, else O(log nm).
// Knobs:     per (byte): byte | ns of the storage, which counts each load's call too
// Devices:   the first of the user's order that can.
#include <algorithm>
#include <string>

#include "framework/registry.h"
#include "policies/parts/knobs.h"
#include "policies/parts/one_device.h"

namespace tessera {
namespace {

struct Settings {
  Choices choices;
  bool by_time = false;
};

// A raise and what it is worth.
struct Offer {
  Raise raise;
  int64_t gain = 0, cost = 1;
};

// gain / cost, exactly; then by id and bits.
bool better(const Offer& a, const Offer& b) {
  __extension__ typedef __int128 Wide;
  const Wide left = static_cast<Wide>(a.gain) * b.cost, right = static_cast<Wide>(b.gain) * a.cost;
  if (left != right) return left > right;
  if (a.raise.id != b.raise.id) return a.raise.id < b.raise.id;
  return a.raise.to < b.raise.to;
}

class GreedyByte final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "STI's sizes; bits by loss saved for each byte read (greedy knapsack)";
  }
  std::vector<KnobDescription> knobs() const override {
    return {{"per", "", "byte", "what a raise is weighed by: bytes read (byte), or the storage's time (ns)"}};
  }

  Result<Decision> decide(const PlanningView& view) override {
    TESSERA_ASSIGN(const Settings settings, understood(view));
    return decide_with(view, settings, view.residency);
  }

  Result<Residency> preload(const PlanningView& view) override {
    TESSERA_ASSIGN(const Settings settings, understood(view));
    return preload_for(view, settings.choices,
                       [&](const Residency& residency) { return decide_with(view, settings, residency); });
  }

 private:
  Result<Settings> understood(const PlanningView& view) const {
    TESSERA_TRY(check_knob_names(*this, view.knobs));
    Settings out;
    TESSERA_ASSIGN(out.choices, choices_of(view));
    TESSERA_ASSIGN(const std::string per, knob_choice(view.knobs, "per", {"byte", "ns"}));
    out.by_time = per == "ns";
    return out;
  }

  static Result<Decision> decide_with(const PlanningView& view, const Settings& settings, const Residency& residency) {
    Trials trials(view, residency);
    OneDevice device(trials, settings.choices);
    if (const std::optional<Size> size = device.largest()) {
      const std::vector<Bits> bits = device.lowest(*size);
      std::vector<Raise> raises = ranked(device, *size, bits, settings.by_time);
      device.raised(size->depth, bits, raises);
      if (auto plan = device.fitting(size->depth, bits, raises)) {
        explain(device, *plan);
        return Decision{std::move(*plan)};
      }
    }
    TESSERA_TRY(trials.status());
    return device.smallest();
  }

  // Each step up the ladder that saves loss, weighed against the bits before it.
  static std::vector<Raise> ranked(OneDevice& device, Size size, const std::vector<Bits>& bits, bool by_time) {
    const PlanningView& view = device.view();
    std::vector<Offer> offers;
    for (int l = 0; l < size.depth; ++l)
      for (int j = 0; j < size.width; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        Bits from = bits[static_cast<size_t>(l) * view.shape.slices + j];
        bool loaded = device.clock().held(id) != from;
        for (const Bits to : device.choices().ladder) {
          if (to <= from) continue;
          const int64_t gain = (device.accuracy().loss_delta(id, from) - device.accuracy().loss_delta(id, to)).n;
          if (gain <= 0) continue;
          const auto cost = [&](Bits b) {
            const int64_t bytes = view.shape.bytes_of(id, b).n;
            return by_time ? device.clock().costs().load(b, 1, bytes).ns : bytes;
          };
          offers.push_back({{id, to}, gain, std::max<int64_t>(1, cost(to) - (loaded ? cost(from) : 0))});
          from = to;
          loaded = true;
        }
      }
    return in_ladder_order(std::move(offers), size.depth, view.shape.slices);
  }

  // The best first; of one shard never a lower rung after a higher one.
  static std::vector<Raise> in_ladder_order(std::vector<Offer> offers, int layers, int slices) {
    std::sort(offers.begin(), offers.end(), better);
    std::vector<Raise> out;
    std::vector<Bits> reached(static_cast<size_t>(layers) * slices, kAbsent);
    for (const Offer& offer : offers) {
      Bits& at = reached[static_cast<size_t>(offer.raise.id.layer) * slices + offer.raise.id.slice];
      if (offer.raise.to <= at) continue;
      at = offer.raise.to;
      out.push_back(offer.raise);
    }
    return out;
  }

  static void explain(OneDevice& device, Plan& plan) {
    for (int l = 0; l < plan.depth; ++l)
      for (int j = 0; j < plan.slices; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        const Bits bits = plan.bits_of(id);
        if (bits == kAbsent) continue;
        if (device.clock().held(id) == bits)
          plan.explain.push_back({id, "resident"});
        else if (bits == device.choices().ladder.front())
          plan.explain.push_back({id, "no raise fits, or saves loss"});
        else
          plan.explain.push_back({id, "raised by loss saved per byte; loses " +
                                          std::to_string(device.accuracy().loss_delta(id, bits).n) + " u-nats"});
      }
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::GreedyByte)
