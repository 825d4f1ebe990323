// Predicts matmul's cycles from the constants that the kernel is built from. Derivation: README.md.
#pragma once

#include "hls/common/cycles.h"
#include "hls/matmul/tile.h"

namespace tessera::hls::mm {

struct MatmulCall {
  uint64_t tokens = 0, in = 0, out = 0;
  uint64_t bits = 0;           // 1..8; 32: dense
  uint64_t element_bytes = 2;  // of dense panels and of outliers
  uint64_t outliers = 0;       // of the matrix
  bool sums = false;           // adds to f64
  constexpr bool coded() const { return bits != 32; }
  constexpr uint64_t panels() const { return ceil_div(out, kColumns); }
  constexpr uint64_t chunks() const { return ceil_div(in, 16); }
};

// Bytes of a matrix as it is read for each tile.
constexpr uint64_t matrix_bytes(const MatmulCall& c) {
  if (!c.coded()) return c.panels() * c.in * kColumns * c.element_bytes;
  return c.panels() * c.in * 2 * c.bits + c.outliers * (2 + c.element_bytes);
}

// Dictionary and panel starts, a word a cycle, beside the bias from its own port.
template <typename Tag>
constexpr uint64_t table_cycles(const MatmulCall& c) {
  const uint64_t words = (c.coded() ? uint64_t{1} << c.bits : 0) + c.panels() + 1;
  return kMemoryLatency + larger(ceil_div(words, 16) + words, c.sums ? 0 : c.out);
}

// A tile: the slowest of the stages that work on it at once. Their order: the array, the decoder, what y takes, what x
// brings.
template <typename Tag>
constexpr uint64_t tile_cycles(const MatmulCall& c) {
  using Tile = MatmulTile<Tag>;
  const uint64_t array = c.panels() * Tile::steps(static_cast<uint32_t>(c.in)) + Tile::kRows;
  const uint64_t decoder = c.panels() * c.in + c.outliers;
  const uint64_t store = c.panels() * Tile::kRows * (c.sums ? 2 : 1);
  const uint64_t load = Tile::kRows * c.chunks();
  return larger(larger(array, decoder), larger(store, load));
}

template <typename Tag>
constexpr uint64_t depth() {
  uint64_t tree = 0;
  for (uint32_t half = MatmulTile<Tag>::kPhases / 2; half >= 1; half /= 2) tree += kAddLatency;
  return kMultiplyLatency + kAddLatency + tree + 24;  // unpack, patch, FIFOs and rounding to the grid: assumed
}

template <typename Tag>
constexpr CallCost matmul_cost(const MatmulCall& c) {
  using Tile = MatmulTile<Tag>;
  const uint64_t tiles = ceil_div(c.tokens, Tile::kRows);
  CallCost cost;
  const uint64_t first_tile = kMemoryLatency + Tile::kRows * c.chunks();
  cost.cycles = kStartCycles + table_cycles<Tag>(c) + first_tile + tiles * tile_cycles<Tag>(c) + depth<Tag>() +
                (c.sums ? kMemoryLatency : 0);
  cost.bytes = tiles * matrix_bytes(c) + 4 * c.tokens * c.in + c.tokens * c.out * (c.sums ? 16 : 4);
  cost.multiply_adds = c.tokens * c.in * c.out;
  return cost;
}

// Of the array's peak of kMacs a cycle.
template <typename Tag>
constexpr double share_of_peak(const CallCost& cost) {
  return static_cast<double>(cost.multiply_adds) /
         (static_cast<double>(cost.cycles) * static_cast<double>(MatmulTile<Tag>::kMacs));
}

}  // namespace tessera::hls::mm
