// Predicts attention's cycles from the constants that the kernel is built from. Derivation: README.md.
#pragma once

#include "hls/attention/tile.h"
#include "hls/common/cycles.h"

namespace tessera::hls::attn {

// Through the tree of a score, exp and the update of an accumulator.
inline constexpr uint64_t kDepth =
    kMultiplyLatency + 5 * kAddLatency + kMultiplyLatency + kExpLatency + kMultiplyLatency + kAddLatency;

// One head, one sequence.
constexpr CallCost attention_cost(uint64_t tokens, uint64_t width) {
  const uint64_t groups = ceil_div(width, kLanes);
  const uint64_t tiles = ceil_div(tokens, kQueries);
  // Each tile: its queries enter, every key meets every query. The last one's accumulators leave, two lines a group.
  const uint64_t tile = kQueries * groups + tokens * groups * kQueries;
  CallCost cost;
  cost.cycles = kStartCycles + kMemoryLatency + tiles * tile + kDepth + 2 * kQueries * groups + kDivideLatency;
  cost.bytes = 4 * width * (2 * tokens + 2 * tiles * tokens);
  cost.multiply_adds = 2 * tokens * tokens * width;
  return cost;
}

}  // namespace tessera::hls::attn
