// Predicts gelu's cycles from the constants that the kernel is built from. Derivation: README.md.
#pragma once

#include "hls/common/cycles.h"
#include "hls/gelu/tile.h"

namespace tessera::hls::gl {

// Division and polynomial follow one another, exp runs beside them.
inline constexpr uint64_t kDepth = kMultiplyLatency + kAddLatency + kDivideLatency + 5 * (kMultiplyLatency + kAddLatency) +
                                   3 * kMultiplyLatency + kAddLatency;

template <typename Tag>
constexpr CallCost gelu_cost(uint64_t lines) {
  CallCost cost;
  cost.cycles = kStartCycles + kMemoryLatency + lines * (16 / GeluLanes<Tag>::kLanes) + kDepth;
  cost.bytes = 2 * 64 * lines;
  return cost;
}

}  // namespace tessera::hls::gl
