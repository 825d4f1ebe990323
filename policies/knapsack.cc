// Fills the time of IO with the bits that save most loss: a multiple-choice knapsack with a deadline for each layer.
//
// Optimises: depth, then width, that the latency allows at the lowest bits; then profiled loss, under all stages' deadlines.
// Algorithm: 1. the deepest, then widest n x m that is in time with every shard at the lowest bits, or as it is resident
//            2. relax the deadline of each layer's loads: subgradient steps on its price (parts/price_search); at given
//            prices
//               every shard takes the bits with the least loss + price * IO time
//            3. repair: all prices together up until the exact clock of the pipeline keeps the accumulated IO budgets, then
//               down as far as it still does; what is left goes to raises, by loss saved for each byte
//            4. the replay decides: where memory makes it late or too big, the last and then all raises are undone
// Reference: Fisher, The Lagrangian Relaxation Method for Solving Integer Programming Problems, Management Science 27(1),
// 1981;
//            Kellerer, Pferschy, Pisinger: Knapsack Problems, chapter 11 (multiple choice).
// Cost:      O(rounds * nm * bitwidths), two replays where memory binds nothing, else O(log nm).
// Knobs:     rounds (40): steps of the search, 1 to 1000
// Devices:   the first of the user's order that can.
#include <algorithm>

#include "framework/registry.h"
#include "policies/parts/knobs.h"
#include "policies/parts/one_device.h"
#include "policies/parts/price_search.h"

namespace tessera {
namespace {

struct Settings {
  Choices choices;
  int rounds = 40;
};

// Best found so far for one size.
struct Found {
  std::vector<Bits> bits;
  Micro loss{INT64_MAX};
};

class Knapsack final : public Policy {
 public:
  std::string_view name() const override { return TESSERA_PLUGIN_NAME; }
  std::string_view summary() const override {
    return "STI's sizes; bits by Lagrangian relaxation of every layer's deadline (multiple-choice knapsack)";
  }
  std::vector<KnobDescription> knobs() const override {
    return {{"rounds", "steps", "40", "of the search for prices, 1 to 1000"}};
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
    TESSERA_ASSIGN(out.rounds, knob_number(view.knobs, "rounds", 40, 1, 1000));
    return out;
  }

  static Result<Decision> decide_with(const PlanningView& view, const Settings& settings, const Residency& residency) {
    Trials trials(view, residency);
    OneDevice device(trials, settings.choices);
    if (const std::optional<Size> size = device.largest()) {
      const std::vector<Bits> floor = device.lowest(*size);
      const std::vector<Raise> raises = chosen(device, settings, *size, floor);
      if (auto plan = device.fitting(size->depth, floor, raises)) return Decision{std::move(*plan)};
    }
    TESSERA_TRY(trials.status());
    return device.smallest();
  }

  // As raises above the floor, most loss saved for each byte first.
  static std::vector<Raise> chosen(OneDevice& device, const Settings& settings, Size size, const std::vector<Bits>& floor) {
    const PlanningView& view = device.view();
    Found best{floor, device.accuracy().loss(size.depth, floor)};
    relax(device, settings, size, best);
    std::vector<Raise> left = every_raise(device, size, best.bits);
    device.raised(size.depth, best.bits, left);
    for (const Raise& raise : left) at(best.bits, view, raise.id) = raise.to;
    std::vector<Raise> out;
    for (const Raise& raise : every_shard(view, size, best.bits))
      if (raise.to != kAbsent && raise.to != at(floor, view, raise.id)) out.push_back(raise);
    std::stable_sort(out.begin(), out.end(),
                     [&](const Raise& a, const Raise& b) { return worth(device, floor, a) > worth(device, floor, b); });
    return out;
  }

  static void relax(OneDevice& device, const Settings& settings, Size size, Found& best) {
    const PlanningView& view = device.view();
    StageClock& clock = device.clock();
    std::vector<Bits> held(static_cast<size_t>(view.shape.layers) * view.shape.slices);
    for (size_t i = 0; i < held.size(); ++i)
      held[i] = clock.held({static_cast<int16_t>(i / view.shape.slices), static_cast<int16_t>(i % view.shape.slices)});
    const auto layer_time = [&](int width, Bits bits) {
      return clock.costs().part(Op::kLayer, settings.choices.device, width, bits);
    };
    ShardMarket market(view, device.accuracy(), clock.costs(), layer_time, held,
                       {{size.width}, settings.choices.ladder, true, true, true});
    PriceSearch search(market, size.depth, stage_times(view, clock, size.depth, true), 1);
    const auto target = [&] {
      return static_cast<double>((best.loss - device.accuracy().base[static_cast<size_t>(size.depth) - 1]).n);
    };
    const auto judge = [&](const std::vector<Bits>& bits, double) {
      if (!device.in_time(size.depth, bits)) return false;
      const Micro loss = device.accuracy().loss(size.depth, bits);
      if (loss < best.loss) best = {bits, loss};
      return true;
    };
    if (search.run(settings.rounds, target, judge)) search.repair(target, judge, false);
  }

  static Bits& at(std::vector<Bits>& bits, const PlanningView& view, ShardId id) {
    return bits[static_cast<size_t>(id.layer) * view.shape.slices + id.slice];
  }
  static Bits at(const std::vector<Bits>& bits, const PlanningView& view, ShardId id) {
    return bits[static_cast<size_t>(id.layer) * view.shape.slices + id.slice];
  }

  static std::vector<Raise> every_shard(const PlanningView& view, Size size, const std::vector<Bits>& bits) {
    std::vector<Raise> out;
    for (int l = 0; l < size.depth; ++l)
      for (int j = 0; j < size.width; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        out.push_back({id, at(bits, view, id)});
      }
    return out;
  }

  // Loss saved against `from` for each byte of the raise.
  static double worth(OneDevice& device, const std::vector<Bits>& from, const Raise& raise) {
    const ModelShape& shape = device.view().shape;
    const Bits now = at(from, device.view(), raise.id);
    const auto gain = static_cast<double>(
        (device.accuracy().loss_delta(raise.id, now) - device.accuracy().loss_delta(raise.id, raise.to)).n);
    return gain /
           static_cast<double>(std::max<int64_t>(1, (shape.bytes_of(raise.id, raise.to) - shape.bytes_of(raise.id, now)).n));
  }

  static std::vector<Raise> every_raise(OneDevice& device, Size size, const std::vector<Bits>& bits) {
    std::vector<Raise> out;
    for (const Raise& now : every_shard(device.view(), size, bits))
      for (const Bits to : device.choices().ladder)
        if (to > now.to && worth(device, bits, {now.id, to}) > 0) out.push_back({now.id, to});
    std::stable_sort(out.begin(), out.end(),
                     [&](const Raise& a, const Raise& b) { return worth(device, bits, a) > worth(device, bits, b); });
    return out;
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_POLICY(tessera::Knapsack)
