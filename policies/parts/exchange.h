// Improves an allocation by exchange: raises what fits, then gives up a little where that lets more be gained elsewhere.
#pragma once

#include <vector>

#include "policies/parts/price_search.h"
#include "policies/parts/stage_clock.h"

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
  // `prices`: of the draft's depth, to rank by.
  Exchange(const PlanningView& view, ShardMarket& market, StageClock& clock, const StageTimes& times,
           const PriceSearch& prices, Draft& draft);
  // Until nothing is gained, or after so many swaps. The draft only gets better, and stays in time.
  void improve(int swaps);

 private:
  // One layer's change: of one shard, or of the layer's width (a row of rungs in rows_).
  struct Move {
    int16_t layer = 0;
    int16_t slice = -1;  // -1: of the width
    uint8_t rung = 0;
    size_t row = 0;
    double gain = 0;             // scaled loss that it saves; negative: that it costs
    double io = 0, compute = 0;  // ns that it takes more
  };
  struct Paths {
    std::vector<double> slack;          // [depth + 2], by path as in PriceSearch
    std::vector<double> before, after;  // least slack up to, and from, each
    void bound();
    void charge(const Move& move);
    bool hold(const Move& move) const;
  };
  void read_draft();
  void read_layer(int layer);
  void measure();
  void list_moves();
  void list_shards(int layer);
  void list_widths(int layer);
  void add(const Move& move);
  double worth(const Move& move) const;  // |gain| for each unit of price
  bool raise_what_fits();
  bool swap_once();
  void set_row(const Move& move, std::vector<Bits>& bits) const;
  bool settle(std::vector<Bits> bits, int first, int second);

  const PlanningView& view_;
  ShardMarket& market_;
  StageClock& clock_;
  const StageTimes times_;
  const PriceSearch& prices_;
  Draft& draft_;
  double scale_ = 1;
  std::vector<uint8_t> rungs_;            // [depth][M]
  std::vector<std::vector<int>> counts_;  // [depth][rungs]: slices to be loaded
  std::vector<LayerStage> stages_;
  std::vector<Move> gains_, losses_;
  std::vector<uint8_t> rows_;  // of changes of width, M each
  Paths paths_;
};

}  // namespace tessera
