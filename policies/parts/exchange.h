// Improves an allocation by exchange: raises what fits, then gives up a little where that lets more be gained elsewhere.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "policies/parts/price_search.h"
#include "policies/parts/stage_clock.h"
#include "policies/parts/stage_slack.h"

namespace tessera {

// Bits of a submodel and what they lose: the best that a search has found so far.
struct Draft {
  int depth = 0;
  std::vector<Bits> bits;  // [depth][M]
  Micro loss{INT64_MAX};
};

// Whether such layers keep the latency budget by the clock; and, without a head start, compute never waits once it has
// begun.
bool in_time(StageClock& clock, const std::vector<LayerStage>& stages, Duration deadline, bool head_start);

// Every change is held against the accuracy model and the clock, both exact. Lives as long as one decision.
class Exchange {
 public:
  // `prices`: of the draft's depth, to rank by. `left`: moves that may be weighed, counted down; asking the exact clock and
  // listing a layer count as some. A count, not a time: equal views give equal plans.
  Exchange(const PlanningView& view, ShardMarket& market, StageClock& clock, const StageTimes& times,
           const PriceSearch& prices, Draft& draft, int64_t& left);
  // Until nothing is gained or left, or after so many swaps. The draft, in time, only gets better, and stays so.
  void improve(int swaps);

 private:
  // One layer's change: of one shard, or of the layer's width (a row of rungs in rows_).
  struct Move {
    int16_t layer = 0;
    int16_t slice = -1;  // -1: of the width
    uint8_t rung = 0;
    size_t row = 0;
    double gain = 0;  // scaled loss that it saves; negative: that it costs
    StageLoad more;
    double worth = 0;  // gain for each unit of price; of one that costs, price for each unit of loss
  };
  using Moves = std::span<const Move* const>;
  // Moves that pay together: the first `bound` only with each other, the others each as it fits.
  struct Chain {
    std::vector<const Move*> moves;
    size_t bound = 0;
    double gain = 0;
  };
  void read_draft();
  void read_layer(int layer);
  StageSlack slack() const;
  void list_moves();
  void list_least();
  void list_layer(int layer);
  void relist(const std::vector<bool>& layers);
  void list_shards(int layer);
  void list_widths(int layer);
  void add(Move move);
  static bool worthier(const Move* a, const Move* b);
  static std::vector<const Move*> first_of(const std::vector<Move>& moves, size_t most);
  static bool clash(const Move& a, const Move& b);
  static bool clashes(const Chain& chain, const Move& move);
  void fill();
  void fill(StageSlack& left, Chain& chain) const;
  Chain give(StageSlack left, const Move& giver) const;
  Chain take(StageSlack left, const Move& taker) const;
  std::vector<Chain> chains();
  void grant(Moves moves, int& refused, std::vector<const Move*>& granted);
  bool raise_what_fits();
  bool swap_once();
  static std::vector<bool> layers_of(const std::vector<const Move*>& moves, int depth);
  bool follow(const Chain& chain);
  bool settle(Moves moves);
  void set_row(const Move& move);
  Micro loss_now() const { return view_.accuracy.loss(draft_.depth, draft_.bits); }

  const PlanningView& view_;
  ShardMarket& market_;
  StageClock& clock_;
  const StageTimes times_;
  const PriceSearch& prices_;
  Draft& draft_;
  int64_t& left_;  // moves that may still be weighed
  double scale_ = 1, least_price_ = 0;
  std::vector<uint8_t> rungs_;            // [depth][M]
  std::vector<std::vector<int>> counts_;  // [depth][rungs]: slices to be loaded
  std::vector<LayerStage> stages_;
  std::vector<Move> gains_, losses_;
  std::vector<std::pair<int, LayerStage>> old_stages_;  // of settle(): by layer, as they were
  std::vector<Bits> old_bits_;                          // [of old_stages_][M]
  std::vector<const Move*> takers_, givers_;            // the best of them, the worthiest first; of chains()
  std::vector<uint8_t> rows_;                           // [depth][widths][M] of changes of width
  std::vector<double> least_bytes_;  // [depth][M + 1]: what so many slices of a layer must load, where room binds
};

}  // namespace tessera
