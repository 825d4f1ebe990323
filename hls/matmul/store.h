// Writes what leaves the array: f32 with bias, or f64 sums on the grid.
#pragma once

#include "hls/common/grid.h"
#include "hls/common/rows.h"
#include "hls/matmul/job.h"

namespace tessera::hls::mm {

// What y gets of one row of sums: columns [16 p, 16 p + 16), zeros beyond the matrix.
template <typename Tag>
void finish_row(const Job& job, const Bias& bias, uint32_t p, const SumRow<Tag>& sums, float (&values)[kLineFloats]) {
#pragma HLS INLINE
columns:
  for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
    const uint32_t column = p * kColumns + c;
    const float added = job.mode == kStore ? bias.at[column < job.out ? column : 0] : 0.0f;
    values[c] = column < job.out ? Arithmetic<Tag>::real(sums.column[c]) + added : 0.0f;
  }
}

// Where the sums come from: row by row of a panel, panel by panel of a tile.
template <typename Tag>
struct Place {
  uint32_t row = 0, panel = 0, first = 0;
  uint32_t token() const { return first + row; }
  void step(const Job& job) {
#pragma HLS INLINE
    if (++row == MatmulTile<Tag>::kRows) {
      row = 0;
      if (++panel == job.panels) {
        panel = 0;
        first += MatmulTile<Tag>::kRows;
      }
    }
  }
};

// y f32 in rows of whole lines: a line a cycle.
template <typename Tag>
void store_lines(Line* y, const Job& job, const Bias& bias, ::hls::stream<SumRow<Tag>, 32>& sums) {
#pragma HLS INLINE
  Place<Tag> at;
  const uint64_t count = static_cast<uint64_t>(job.tiles) * job.panels * MatmulTile<Tag>::kRows;
y_lines:
  for (uint64_t i = 0; i < count; ++i) {
#pragma HLS PIPELINE II = 1
    const SumRow<Tag> row = sums.read();
    float values[kLineFloats];
    finish_row<Tag>(job, bias, at.panel, row, values);
    const uint64_t start = job.y_at + static_cast<uint64_t>(at.token()) * job.y_stride + at.panel * kColumns;
    if (at.token() < job.tokens) y[start / kLineFloats] = line_of(values);
    at.step(job);
  }
}

inline uint64_t summed(uint64_t old, float part, bool& overflow) {
#pragma HLS INLINE
  return double_of_grid(grid_of_double(old, overflow) + grid_of(part, overflow), overflow);
}

// y f64 in rows of whole lines: half a row of sums a cycle. No line is met twice, so reads run ahead of writes.
template <typename Tag>
void sum_lines(Line* y, const Job& job, const Bias& bias, ::hls::stream<SumRow<Tag>, 32>& sums, bool& overflow) {
#pragma HLS INLINE
  Place<Tag> at;
  const uint64_t count = static_cast<uint64_t>(job.tiles) * job.panels * MatmulTile<Tag>::kRows;
  float values[kLineFloats];
sum_halves:
  for (uint64_t i = 0; i < 2 * count; ++i) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = y type = inter dependent = false
    const uint32_t half = i % 2;
    if (half == 0) {
      const SumRow<Tag> row = sums.read();
      finish_row<Tag>(job, bias, at.panel, row, values);
    }
    const uint32_t column = at.panel * kColumns + half * kLineDoubles;
    const uint64_t line_at = (job.y_at + static_cast<uint64_t>(at.token()) * job.y_stride + column) / kLineDoubles;
    if (at.token() < job.tokens && column < job.out) {
      Line line = {};
      if (job.mode == kAccumulate) line = y[line_at];
    lanes:
      for (uint32_t b = 0; b < kLineDoubles; ++b) {
#pragma HLS UNROLL
        put_double(line, b, summed(double_bits(line, b), values[half * kLineDoubles + b], overflow));
      }
      y[line_at] = line;
    }
    if (half == 1) at.step(job);
  }
}

// Rows that begin inside lines: number by number.
template <typename Tag>
void store_each(Line* y, const Job& job, const Bias& bias, ::hls::stream<SumRow<Tag>, 32>& sums, bool& overflow) {
#pragma HLS INLINE
  Place<Tag> at;
  const uint64_t count = static_cast<uint64_t>(job.tiles) * job.panels * MatmulTile<Tag>::kRows;
each_row:
  for (uint64_t i = 0; i < count; ++i) {
    const SumRow<Tag> row = sums.read();
    float values[kLineFloats];
    finish_row<Tag>(job, bias, at.panel, row, values);
    const uint32_t column = at.panel * kColumns;
    const uint32_t end = job.mode == kStore ? job.y_stride : job.out;  // f32: padding becomes zeros
    const uint32_t room = end - column < kColumns ? end - column : kColumns;
    const uint64_t start = job.y_at + static_cast<uint64_t>(at.token()) * job.y_stride + column;
    if (at.token() < job.tokens && job.mode == kStore) store_floats(y, start, room, values);
    if (at.token() < job.tokens && job.mode != kStore) {
    each_double:
      for (uint32_t b = 0; b < room; ++b) {
        Line line = y[(start + b) / kLineDoubles];
        const uint32_t lane = static_cast<uint32_t>((start + b) % kLineDoubles);
        put_double(line, lane, summed(job.mode == kAccumulate ? double_bits(line, lane) : 0, values[b], overflow));
        y[(start + b) / kLineDoubles] = line;
      }
    }
    at.step(job);
  }
}

template <typename Tag>
void store(Line* y, const Job& job, const Bias& bias, ::hls::stream<SumRow<Tag>, 32>& sums, bool& overflow) {
  bool seen = false;
  if (job.mode == kStore && job.y_stride % kLineFloats == 0) {
    store_lines<Tag>(y, job, bias, sums);
  } else if (job.mode != kStore && job.y_stride % kLineDoubles == 0 && job.out % kLineDoubles == 0) {
    sum_lines<Tag>(y, job, bias, sums, seen);
  } else {
    store_each<Tag>(y, job, bias, sums, seen);
  }
  overflow = seen;
}

}  // namespace tessera::hls::mm
