// Searches prices of time: Lagrangian relaxation of the deadlines of a request's stages on one pipeline.
//
//   loads of layers 0..k, then computes of layers k..n-1, are a path that must end in time, for every k:
//     rows + io(0..k) + compute(k..n-1) + exit <= deadline       (and: rows + embed + all computes + exit, and the exit's
//     load)
//   with a multiplier u(k) >= 0 each, a nanosecond of layer l's IO costs  sum of u(k), k >= l,  and one of its compute
//   sum of u(k), k <= l:  layers fall apart, and each is the cheapest at its prices (ShardMarket::cheapest).
//   Where memory is short, a layer must fit by itself, bytes(l) <= room, and what of layers j..k does not fit beside layer j
//   is loaded after its end. So a path may leave the computes after j and come back at k, by way of bytes(j..k) - room:
//   multipliers v(j, k), on each layer not more than what passes there, move price from its computes to its loads.
// Reference: M. L. Fisher, The Lagrangian Relaxation Method for Solving Integer Programming Problems, Management Science
// 27(1), 1981; steps after B. T. Polyak, Minimization of unsmooth functionals, 1969; deflected as Camerini, Fratta,
// Maffioli, On improving relaxation methods by modified gradient techniques, Mathematical Programming Study 3, 1975.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "policies/parts/shard_market.h"
#include "policies/parts/stage_clock.h"

namespace tessera {

// Of one depth, in ns.
struct StageTimes {
  double deadline = 0, rows = 0, embed = 0, exit = 0, exit_load = 0;
  // Loads may run ahead of compute by all that compute leaves of the deadline. False: compute starts when layer 0 is there,
  // and never waits again (STI as published).
  bool head_start = true;
  double room = std::numeric_limits<double>::infinity();  // ns of IO whose bytes fit in memory at once
};

StageTimes stage_times(const PlanningView& view, StageClock& clock, int depth, bool head_start);

// One depth. Lives as long as one decision.
class PriceSearch {
 public:
  // Holds an allocation against exact clocks, remembers the best; whether it fits. Loss as scaled, without the depth's base.
  using Judge = std::function<bool(const std::vector<Bits>& bits, double loss)>;
  // Least loss that is known to fit, in the same terms: what is not below it is not looked at.
  using Target = std::function<double()>;

  PriceSearch(ShardMarket& market, int depth, const StageTimes& times, double scale);
  // Starts from another depth's prices.
  void start_from(const PriceSearch& other);
  // Starts from all paths alike, where that just fits: what is known to fit gives later steps their length.
  void start_even(const Target& target, const Judge& judge);
  // At most `rounds` steps; false where no allocation of this depth can be below the target.
  bool run(int rounds, const Target& target, const Judge& judge);
  // Raises or lowers all prices together to where allocations just fit; where bytes are short, also those of IO alone.
  void repair(const Target& target, const Judge& judge, bool bytes_bind);

  // The best of the relaxation: about the least loss of the depth at the widths' scale.
  double bound() const { return best_bound_; }
  double mean_width() const;                  // of the last allocation
  int64_t priced() const { return priced_; }  // layers, so far
  void set_scale(double scale) { scale_ = scale; }
  // Prices of layer l as the search left them, millionths of loss a ns.
  double io_price(int layer) const { return io_price_[layer]; }
  double compute_price(int layer) const { return compute_price_[layer]; }

 private:
  // Relaxed solution at factor * multipliers, and `floor` on top of every layer's IO; `must_fit`: each layer in the room.
  void solve(double factor, double floor, bool must_fit);
  void set_prices(double factor, double floor);
  bool room_binds() const { return times_.room < std::numeric_limits<double>::infinity() && times_.head_start; }
  void measure();  // over_ of each path
  void measure_room();
  void find_waits();
  void bound_waits();
  bool in_time() const;
  bool try_at(double factor, double floor, const Judge& judge);
  void raise_floor(const Target& target, const Judge& judge);
  void step(double gap);
  std::vector<Bits> bits() const;
  double io_coefficient(int path, int layer) const;
  double compute_coefficient(int path, int layer) const;

  ShardMarket& market_;
  const int depth_;
  const StageTimes times_;
  double scale_;
  // [depth + 2]: path 0 computes only, path depth + 1 loads only; then, where memory is short, [depth] of each layer's room.
  std::vector<double> multipliers_, best_multipliers_, over_, direction_;
  struct Wait {
    int from = 0, to = 0;  // loads of `to` wait for the end of `from`
    double price = 0, over = 0;
  };
  std::vector<Wait> waits_, best_waits_;
  std::vector<double> io_price_, compute_price_;  // [depth]
  std::vector<double> own_;                       // [depth]: of IO, for a layer to fit in memory by itself
  std::vector<LayerOffer> offers_;
  std::vector<uint8_t> rows_;  // [depth][M] rungs
  double loss_ = 0, best_bound_ = 0;
  int64_t priced_ = 0;
  double floor_ = 0;  // of all IO, that the last depth needed to fit
};

}  // namespace tessera
