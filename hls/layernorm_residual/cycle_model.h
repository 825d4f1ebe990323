// Predicts layernorm_residual's cycles from the constants that the kernel is built from. Derivation: README.md.
#pragma once

#include "hls/common/cycles.h"
#include "hls/layernorm_residual/tile.h"

namespace tessera::hls::ln {

// A mean: trees of 8 phases and 8 lanes; twice, and the root and division.
inline constexpr uint64_t kDepth = 2 * (kAddLatency + 6 * kAddLatency + kMultiplyLatency) + 3 * kDivideLatency;

// Three rows are under way at once: the last one leaves two rows later.
constexpr CallCost layernorm_residual_cost(uint64_t tokens, uint64_t width, uint64_t parts) {
  const uint64_t groups = ceil_div(width, kLanes);
  CallCost cost;
  cost.cycles = kStartCycles + kMemoryLatency + 3 * ceil_div(width, 16) + kMemoryLatency + (tokens + 2) * groups + kDepth;
  cost.bytes = tokens * width * (8 * parts + 4 + 4) + 12 * width;
  return cost;
}

}  // namespace tessera::hls::ln
