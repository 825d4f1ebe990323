// Prices shards: what each would lose at each bitwidth, and what that takes of storage and of the device.
//
// A planner that relaxes the deadlines asks it what a layer should be where a nanosecond of IO and one of compute cost so
// much loss. All in doubles that are only added, multiplied and compared: the same on every machine (-ffp-contract=off).
#pragma once

#include <functional>
#include <vector>

#include "policies/parts/task_costs.h"

namespace tessera {

// What a search may choose from.
struct MarketRules {
  std::vector<int> widths;    // legal slice counts of a layer, ascending
  std::vector<Bits> ladder;   // ascending
  bool prefixes = false;      // a layer is its first slices; else any set
  bool equal_widths = false;  // all layers have the same
  bool upgrades_held = true;  // what is resident may be loaded anew at other bits
};

// A layer as chosen at some prices.
struct LayerOffer {
  double loss = 0;     // micro-nats, not scaled
  double io = 0;       // ns
  double compute = 0;  // ns
  double bytes = 0;    // at the market's ns_per_byte()
};

// Tables over one model; borrows nothing after its construction. Lives as long as one decision.
class ShardMarket {
 public:
  using LayerTime = std::function<Duration(int width, Bits bits)>;
  // `held`: [L][M] bits that spare a load, absent where none do.
  ShardMarket(const PlanningView& view, const AccuracyModel& accuracy, TaskCosts& costs, const LayerTime& layer_time,
              const std::vector<Bits>& held, MarketRules rules);

  int slices() const { return slices_; }
  const MarketRules& rules() const { return rules_; }
  // Rungs of a shard: 0 absent, then the ladder's. Infinite loss: not to be had.
  int rungs() const { return rungs_; }
  Bits bits_at(int rung) const { return rung == 0 ? kAbsent : rules_.ladder[static_cast<size_t>(rung) - 1]; }
  int rung_of(Bits bits) const;
  double loss(int layer, int slice, int rung) const { return loss_[at(layer, slice, rung)]; }
  // Of its bytes alone; the call of the load it is in comes once, for all of a layer at the same bits.
  double io(int layer, int slice, int rung) const { return io_[at(layer, slice, rung)]; }
  double call() const { return call_; }
  // What a byte takes at least, at whatever bits; and the bytes to be loaded, each at that.
  double ns_per_byte() const { return ns_per_byte_; }
  double bytes(int layer, int slice, int rung) const {
    return io(layer, slice, rung) * least_share_[static_cast<size_t>(rung)];
  }
  // Of a layer of `width` slices at the lowest rung; and what each slice at a rung adds.
  double compute(int width) const { return compute_[static_cast<size_t>(width)]; }
  double decode(int rung) const { return decode_[static_cast<size_t>(rung)]; }

  // The cheapest layer: scale * loss + io_price * io + compute_price * compute. Its rungs go to `row` [M], and to `costs`
  // (if given) what the cheapest of each legal width costs. `width`: only that one; 0: any. Returns the cost, calls not
  // counted.
  double cheapest(int layer, int width, double scale, double io_price, double compute_price, uint8_t* row,
                  double* costs = nullptr);
  // The same where its bytes may take `room` ns at most. `own`: what its IO had to cost for that the last time, 0 at first;
  // kept up to date, within a tenth. False: it does not fit at any price.
  bool cheapest_within(double room, int layer, int width, double scale, double io_price, double compute_price, uint8_t* row,
                       LayerOffer& offered, double& own);
  LayerOffer offer(int layer, const uint8_t* row) const;

 private:
  size_t at(int layer, int slice, int rung) const { return (static_cast<size_t>(layer) * rungs_ + rung) * slices_ + slice; }
  void price_loads(const PlanningView& view, TaskCosts& costs);
  void list_choices(const PlanningView& view, const AccuracyModel& accuracy, const std::vector<Bits>& held);
  double choose(int layer, int width, double scale, double io_price, double compute_price, uint8_t* row, double* costs);
  void choose_rungs(int layer, double scale, double io_price, double compute_price);
  const int* ranked(int layer);
  void share_calls(int layer, double scale, double io_price, double compute_price, uint8_t* row) const;

  const int slices_;
  const MarketRules rules_;
  const int rungs_;
  std::vector<double> loss_, io_;    // [L][rungs][M]
  std::vector<double> compute_;      // [M + 1]
  std::vector<double> decode_;       // [rungs]
  std::vector<double> per_byte_;     // [rungs]
  std::vector<double> least_share_;  // [rungs]: ns_per_byte() / per_byte_
  double call_ = 0, ns_per_byte_ = 0;
  // Of cheapest(): by slice.
  std::vector<double> gain_, best_, rung_;
  std::vector<int> order_;  // [L][M]: slices by gain as they were last; prices move little from one call to the next
};

}  // namespace tessera
