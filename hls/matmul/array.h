// Computes: kRows x 16 products a cycle, while the next tile of x enters and the last panel's sums leave.
#pragma once

#include "hls/common/rows.h"
#include "hls/matmul/job.h"

namespace tessera::hls::mm {

// Sends x, chunk by chunk, padded to whole tiles with rows of zeros.
template <typename Tag>
void read_x(const Line* x, const Job& job, ::hls::stream<Line, 32>& chunks) {
  load_rows(x, job.x_at, job.tokens, job.in, job.x_stride, [&](const Line& line) { chunks.write(line); });
  const uint32_t missing = job.tiles * MatmulTile<Tag>::kRows - job.tokens;
x_padding:
  for (uint32_t i = 0; i < missing * job.chunks(); ++i) {
#pragma HLS PIPELINE II = 1
    chunks.write(Line{});
  }
}

// Row r of the sums of a panel that has ended.
template <typename Tag, typename Sum, int kPhases, int kRows>
SumRow<Tag> total(const Sum (&ended)[kPhases][kRows][kColumns], uint32_t r) {
#pragma HLS INLINE
  SumRow<Tag> row;
columns:
  for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
    Sum phase[kPhases];
  phases:
    for (int i = 0; i < kPhases; ++i) {
#pragma HLS UNROLL
      phase[i] = ended[i][r][c];
    }
    row.column[c] = tree_sum(phase);
  }
  return row;
}

// One step of the array: kRows x 16 products. The first product of a phase begins its sum.
template <typename Tag, typename Sum, int kRows>
void mac(const Tile<Tag>& tile, uint32_t k, const WeightRow<Tag>& row, bool first, Sum (&sums)[kRows][kColumns]) {
#pragma HLS INLINE
rows:
  for (int r = 0; r < kRows; ++r) {
#pragma HLS UNROLL
    const auto x = tile[r][k / kLineFloats][k % kLineFloats];
  columns:
    for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
      const Sum product = static_cast<Sum>(x * row.column[c]);
      sums[r][c] = first ? product : static_cast<Sum>(sums[r][c] + product);
    }
  }
}

// Fills a tile, a chunk at a time.
template <typename Tag>
struct TileFiller {
  uint32_t row = MatmulTile<Tag>::kRows;  // that comes next; kRows: full
  uint32_t chunk = 0;
  bool full() const { return row == MatmulTile<Tag>::kRows; }
  void step(Tile<Tag>& tile, uint32_t chunks, ::hls::stream<Line, 32>& from) {
#pragma HLS INLINE
    const Line line = from.read();
  lanes:
    for (uint32_t lane = 0; lane < kLineFloats; ++lane) {
#pragma HLS UNROLL
      tile[row][chunk][lane] = typename Arithmetic<Tag>::Activation(float_of(line.word[lane]));
    }
    if (++chunk == chunks) {
      chunk = 0;
      ++row;
    }
  }
};

template <typename Tag>
struct Sums {
  typename Arithmetic<Tag>::Sum at[Arithmetic<Tag>::kPhases][MatmulTile<Tag>::kRows][kColumns];
};

// The sums of a panel step aside; a phase that had no product is zero.
template <typename Tag>
void hand_over(const Sums<Tag>& running, uint32_t in, Sums<Tag>& ended) {
#pragma HLS INLINE
phases:
  for (uint32_t i = 0; i < Arithmetic<Tag>::kPhases; ++i) {
#pragma HLS UNROLL
    for (uint32_t r = 0; r < MatmulTile<Tag>::kRows; ++r) {
#pragma HLS UNROLL
      for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
        ended.at[i][r][c] = i < in ? running.at[i][r][c] : typename Arithmetic<Tag>::Sum(0);
      }
    }
  }
}

// One tile: all panels without a pause, and kRows steps more in which the last panel's sums leave.
template <typename Tag>
void multiply_tile(const Job& job, Tile<Tag> (&tiles)[2], uint32_t half, TileFiller<Tag>& filler,
                   ::hls::stream<Line, 32>& chunks, ::hls::stream<WeightRow<Tag>, 64>& rows,
                   ::hls::stream<SumRow<Tag>, 32>& out) {
#pragma HLS INLINE
  using A = Arithmetic<Tag>;
  constexpr uint32_t kRows = MatmulTile<Tag>::kRows;
  static_assert(A::kPhases == MatmulTile<Tag>::kPhases, "the cycle model counts with the kernel's own phases");
  [[maybe_unused]] constexpr uint32_t kDistance = A::kPhases;
  const uint32_t panel_steps = MatmulTile<Tag>::steps(job.in);
  Sums<Tag> running, ended;  // both written before they are read
#pragma HLS ARRAY_PARTITION variable = running.at type = complete dim = 0
#pragma HLS ARRAY_PARTITION variable = ended.at type = complete dim = 0
  uint32_t k = 0, p = 0;
steps:
  for (uint32_t s = 0; s < job.panels * panel_steps + kRows; ++s) {
#pragma HLS PIPELINE II = 1
// A phase's sums are needed again kPhases steps later; the tile that is filled is not the one that is read.
#pragma HLS DEPENDENCE variable = running.at type = inter direction = RAW distance = kDistance dependent = true
#pragma HLS DEPENDENCE variable = tiles type = inter dependent = false
    if (!filler.full()) filler.step(tiles[1 - half], job.chunks(), chunks);
    if (p > 0 && k < kRows) out.write(total<Tag>(ended.at, k));
    if (p < job.panels && k < job.in) mac<Tag>(tiles[half], k, rows.read(), k < A::kPhases, running.at[k % A::kPhases]);
    if (++k == panel_steps) {
      hand_over<Tag>(running, job.in, ended);
      k = 0;
      ++p;
    }
  }
}

template <typename Tag>
void multiply(const Job& job, ::hls::stream<Line, 32>& chunks, ::hls::stream<WeightRow<Tag>, 64>& rows,
              ::hls::stream<SumRow<Tag>, 32>& out) {
  Tile<Tag> tiles[2];
// A memory for each row, the halves one behind the other: 512 words of 16 elements. One is read while the other is written.
#pragma HLS ARRAY_PARTITION variable = tiles type = complete dim = 2
#pragma HLS ARRAY_RESHAPE variable = tiles type = complete dim = 4
#pragma HLS BIND_STORAGE variable = tiles type = ram_s2p impl = bram
  TileFiller<Tag> filler;
  filler.row = 0;
first_tile:
  while (!filler.full()) {
#pragma HLS PIPELINE II = 1
    filler.step(tiles[0], job.chunks(), chunks);
  }
each_tile:
  for (uint32_t i = 0; i < job.tiles; ++i) {
    if (i + 1 < job.tiles) filler.row = 0;
    multiply_tile<Tag>(job, tiles, i % 2, filler, chunks, rows, out);
  rest_of_tile:
    while (!filler.full()) {
#pragma HLS PIPELINE II = 1
      filler.step(tiles[(i + 1) % 2], job.chunks(), chunks);
    }
  }
}

}  // namespace tessera::hls::mm
