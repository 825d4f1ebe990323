// Adds kernels' calls up to what a card takes for a task, in the schedule of backends/fpga/layer_program.cc:
//
//   stage s of a half of a layer:  first products of slice s  |  attention or gelu of slice s - 1  |  last product of slice
//   s - 2
//
// All calls of a stage run side by side on the units that the card has; the host starts a stage when the one before has
// ended. Everything is bound below by the bytes that the calls move.
#pragma once

#include "hls/attention/cycle_model.h"
#include "hls/common/limits.h"
#include "hls/gelu/cycle_model.h"
#include "hls/layernorm_residual/cycle_model.h"
#include "hls/matmul/cycle_model.h"

namespace tessera::hls {

// A layer's dimensions, and what of it a task computes.
struct LayerWork {
  uint64_t batch = 1, tokens = 0;  // B sequences of T tokens
  uint64_t slices = 0;
  uint64_t hidden = 0, head_width = 0, share = 0;  // D, D/H, F/M
  uint64_t bits = 0;                               // 1..8; 32: exact
  uint64_t element_bytes = 2;                      // as stored
  constexpr uint64_t rows() const { return batch * tokens; }
};

// Whether the kernels' arrays hold it.
constexpr bool fits(const LayerWork& w) {
  return w.hidden <= kMostIn && w.share <= kMostIn && w.head_width <= kMostHeadWidth && w.rows() <= kMostTokens;
}

// Outliers of a coded matrix: 0.281 % of the weights of the embedded model (docs/store.md).
constexpr uint64_t outliers_of(const LayerWork& w, uint64_t in, uint64_t out) {
  return w.bits == 32 ? 0 : ceil_div(in * out * 281, 100000);
}

template <typename Tag>
constexpr CallCost matmul_call(const LayerWork& w, uint64_t in, uint64_t out, bool sums) {
  return mm::matmul_cost<Tag>({w.rows(), in, out, w.bits, w.element_bytes, outliers_of(w, in, out), sums});
}

// Calls of one slice in one half of a layer.
struct SliceCalls {
  int first_count = 1;
  CallCost first;   // each of them: Q, K, V, or Up
  CallCost middle;  // attention over all sequences, or gelu
  CallCost last;    // O, or Down
};

template <typename Tag>
constexpr SliceCalls attention_slice(const LayerWork& w) {
  SliceCalls c{3, matmul_call<Tag>(w, w.hidden, w.head_width, false), {}, matmul_call<Tag>(w, w.head_width, w.hidden, true)};
  for (uint64_t b = 0; b < w.batch; ++b) c.middle += attn::attention_cost(w.tokens, w.head_width);
  return c;
}

template <typename Tag>
constexpr SliceCalls ffn_slice(const LayerWork& w) {
  return {1, matmul_call<Tag>(w, w.hidden, w.share, false), gl::gelu_cost<Tag>(w.rows() * ceil_div(w.share, 16)),
          matmul_call<Tag>(w, w.share, w.hidden, true)};
}

// A card: one unit each of attention, gelu and layernorm_residual, and some of matmul.
struct CardUnits {
  uint64_t matmul_units = 1;
  double bytes_per_cycle = 0;  // of the card's memory, all ports together; 0: no bound
  uint64_t stage_cycles = 0;   // that the host takes between the end of a stage and the start of the next
};

inline constexpr uint64_t kMostUnits = 4;  // a stage has no more products

// When `count` products of `each` cycles and one of `one` have run on `units`: the longest first, each on the unit that is
// free soonest.
constexpr uint64_t makespan(uint64_t units, int count, uint64_t each, uint64_t one) {
  uint64_t busy[kMostUnits] = {};
  const uint64_t used = units < 1 ? 1 : units > kMostUnits ? kMostUnits : units;
  const bool one_first = one >= each;
  uint64_t last = 0;
  for (int i = 0; i <= count; ++i) {
    const uint64_t length = i == (one_first ? 0 : count) ? one : each;
    uint64_t soonest = 0;
    for (uint64_t u = 1; u < used; ++u)
      if (busy[u] < busy[soonest]) soonest = u;
    busy[soonest] += length;
    last = larger(last, busy[soonest]);
  }
  return last;
}

constexpr double half_cycles(const CardUnits& card, uint64_t slices, const SliceCalls& c) {
  if (slices == 0) return 0;
  uint64_t cycles = 0;
  for (uint64_t stage = 0; stage < slices + 2; ++stage) {
    const uint64_t products =
        makespan(card.matmul_units, stage < slices ? c.first_count : 0, c.first.cycles, stage >= 2 ? c.last.cycles : 0);
    const uint64_t middle = stage >= 1 && stage <= slices ? c.middle.cycles : 0;
    cycles += larger(products, middle) + card.stage_cycles;
  }
  const uint64_t bytes = slices * (c.first.bytes * static_cast<uint64_t>(c.first_count) + c.middle.bytes + c.last.bytes);
  const double moved = card.bytes_per_cycle > 0 ? static_cast<double>(bytes) / card.bytes_per_cycle : 0;
  return moved > static_cast<double>(cycles) ? moved : static_cast<double>(cycles);
}

// What a task takes, in cycles.
template <typename Tag>
constexpr double attention_part_cycles(const CardUnits& card, const LayerWork& w) {
  return half_cycles(card, w.slices, attention_slice<Tag>(w));
}
template <typename Tag>
constexpr double ffn_part_cycles(const CardUnits& card, const LayerWork& w) {
  return half_cycles(card, w.slices, ffn_slice<Tag>(w));
}
constexpr double combine_cycles(const CardUnits& card, const LayerWork& w, uint64_t parts) {
  const CallCost c = ln::layernorm_residual_cost(w.rows(), w.hidden, parts);
  const double moved = card.bytes_per_cycle > 0 ? static_cast<double>(c.bytes) / card.bytes_per_cycle : 0;
  const double cycles = static_cast<double>(c.cycles + card.stage_cycles);
  return moved > cycles ? moved : cycles;
}
template <typename Tag>
constexpr double layer_cycles(const CardUnits& card, const LayerWork& w) {
  return attention_part_cycles<Tag>(card, w) + ffn_part_cycles<Tag>(card, w) + 2 * combine_cycles(card, w, 1);
}

}  // namespace tessera::hls
