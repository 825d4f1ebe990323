// Multiplies rows of activations by a coded matrix: decodes on chip while a tiled array of MACs computes.
//
//   one DATAFLOW region; every stage passes over the tiles of kRows rows of x by itself:
//
//   x ─────────► read_x ────────────────────────────────────────────► two tiles [kRows][in] ─┐
//   weights ───► read_lines ──► unpack (dictionary) ──► patch ──► 16 weights a cycle ────────┴► multiply ──► store ──► y
//   positions ─► read_positions ────────────────────────►│                                     kRows x 16 MACs
//   values ────► read_values ───────────────────────────►│ outliers
//
// The array is output stationary: in step k it takes x[r][k] for all rows r and w[k][c] for all 16 columns c of a panel, and
// adds to kRows x 16 sums. While it computes one panel, the sums of the one before leave row by row, and the next tile of x
// enters line by line. The matrix is decoded again for each tile: coded weights are cheap to read, and a decoded matrix
// would fill the card's memory blocks. The order in which an output's products are added depends on `in` alone: kPhases
// running sums that take turns, ascending in k, and a tree over them.
#pragma once

#include "hls/matmul/array.h"
#include "hls/matmul/decode.h"
#include "hls/matmul/store.h"

namespace tessera::hls::mm {

template <typename Tag>
void stream_tiles(const Line* x, const Line* weights, const uint16_t* positions, const uint16_t* values, Line* y,
                  const Job& job, const Dictionary<Tag>& dictionary, const PanelStarts& starts, const Bias& bias,
                  bool& overflow) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  ::hls::stream<Line, 32> chunks;
  ::hls::stream<Line, 32> lines;
  ::hls::stream<uint16_t, 64> outlier_positions;
  ::hls::stream<float, 64> outlier_values;
  ::hls::stream<uint32_t, 32> counts;
  ::hls::stream<WeightRow<Tag>, 16> plain;
  ::hls::stream<WeightRow<Tag>, 64> rows;
  ::hls::stream<SumRow<Tag>, 32> sums;
  read_x<Tag>(x, job, chunks);
  read_lines(weights, job, lines);
  read_positions(positions, job, outlier_positions);
  read_values(values, job, outlier_values);
  unpack<Tag>(job, dictionary, lines, plain);
  count_outliers(job, starts, counts);
  patch<Tag>(job, counts, plain, outlier_positions, outlier_values, rows);
  multiply<Tag>(job, chunks, rows, sums);
  store<Tag>(y, job, bias, sums, overflow);
}

// Dictionary, panel starts and bias at once, from their two ports.
template <typename Tag>
void load_tables(const Line* weights, const float* biases, uint32_t bias_at, const Job& job, Dictionary<Tag>& dictionary,
                 PanelStarts& starts, Bias& bias, bool& sound) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  load_bias(biases, bias_at, job, bias);
  load_header<Tag>(weights, job, dictionary, starts, sound);
}

template <typename Tag>
KernelStatus run(const Line* x, const Line* weights, const uint16_t* positions, const uint16_t* values, const float* biases,
                 uint32_t bias_at, Line* y, Job job) {
  if (!valid(job)) return kStatusRefused;
  job.panels = (job.out + kColumns - 1) / kColumns;
  job.tiles = (job.tokens + MatmulTile<Tag>::kRows - 1) / MatmulTile<Tag>::kRows;
  Dictionary<Tag> dictionary;
#pragma HLS ARRAY_PARTITION variable = dictionary.lane type = complete dim = 1
  PanelStarts starts;
  Bias bias;
#pragma HLS ARRAY_PARTITION variable = bias.at type = cyclic factor = 16
  bool sound = true;
  load_tables<Tag>(weights, biases, bias_at, job, dictionary, starts, bias, sound);
  if (!sound) return kStatusRefused;
  if (job.tiles == 0) return kStatusDone;
  place(job, starts.at[job.panels]);
  bool overflow = false;
  stream_tiles<Tag>(x, weights, positions, values, y, job, dictionary, starts, bias, overflow);
  return overflow ? kStatusOverflow : kStatusDone;
}

}  // namespace tessera::hls::mm