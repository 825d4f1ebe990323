// Joins a half of a layer: adds its parts exactly, then bias and residual, and normalises each row.
//
//   part 0..3 ─► read_part ─► add_parts ─► gather ─────► centre ─────────► scale ─► y
//   residual ──► read_residual ──────────────│ sum ─► mean │ squares ─► 1/std │
//
// Three passes over a row, each in a stage of its own, so that three rows are under way; between stages a row waits in a
// FIFO. The order of additions depends on the width alone.
#pragma once

#include "hls/common/arithmetic.h"
#include "hls/common/grid.h"
#include "hls/common/real_math.h"
#include "hls/common/rows.h"
#include "hls/common/stream.h"
#include "hls/kernels.h"
#include "hls/layernorm_residual/tile.h"

namespace tessera::hls::ln {

inline constexpr uint32_t kMostWidth = kMostIn;
inline constexpr int kRowDepth = kMostWidth / kLanes + 128;  // a FIFO that holds a row and what is on its way to the mean

struct Job {
  uint32_t parts, tokens, width;
  uint64_t part_at[kMostParts];           // doubles
  uint64_t residual_at, y_at;             // floats
  uint32_t bias_at, weight_at, shift_at;  // lines
  float eps;
  uint32_t groups() const { return (width + kLanes - 1) / kLanes; }
  uint64_t all_groups() const { return static_cast<uint64_t>(tokens) * groups(); }
};

struct GridGroup {
  Grid lane[kLanes];
};
template <typename Tag>
struct Group {
  typename Arithmetic<Tag>::Value lane[kLanes];
};
struct Norms {
  float bias[kMostWidth];
  float weight[kMostWidth];
  float shift[kMostWidth];
};

inline void load_norms(const Line* norms, const Job& job, Norms& to) {
#pragma HLS INLINE off
norm_lines:
  for (uint32_t l = 0; l < (job.width + kLineFloats - 1) / kLineFloats; ++l) {
#pragma HLS PIPELINE II = 3
    const Line bias = norms[job.bias_at + l], weight = norms[job.weight_at + l], shift = norms[job.shift_at + l];
  lanes:
    for (uint32_t b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
      to.bias[l * kLineFloats + b] = float_of(bias.word[b]);
      to.weight[l * kLineFloats + b] = float_of(weight.word[b]);
      to.shift[l * kLineFloats + b] = float_of(shift.word[b]);
    }
  }
}

// ---- reading and adding parts

inline void read_part(const Line* part, uint32_t index, const Job& job, ::hls::stream<Line, 32>& out) {
  if (index >= job.parts) return;
  load_rows(part, 2 * job.part_at[index], job.tokens, 2 * job.width, 2 * job.width,
            [&](const Line& line) { out.write(line); });
}

inline void add_line(const Line& line, GridGroup& sum, bool& overflow) {
#pragma HLS INLINE
lanes:
  for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
    sum.lane[b] += grid_of_double(double_bits(line, b), overflow);
  }
}

inline void add_parts(const Job& job, ::hls::stream<Line, 32>& part0, ::hls::stream<Line, 32>& part1,
                      ::hls::stream<Line, 32>& part2, ::hls::stream<Line, 32>& part3, ::hls::stream<GridGroup, 32>& out,
                      bool& overflow) {
  bool seen = false;
add_groups:
  for (uint64_t i = 0; i < job.all_groups(); ++i) {
#pragma HLS PIPELINE II = 1
    GridGroup sum = {};
    add_line(part0.read(), sum, seen);
    if (job.parts > 1) add_line(part1.read(), sum, seen);
    if (job.parts > 2) add_line(part2.read(), sum, seen);
    if (job.parts > 3) add_line(part3.read(), sum, seen);
    out.write(sum);
  }
  overflow = seen;
}

// ---- finish 0: the sum goes back into part 0

inline void store_sums(Line* part0, const Job& job, ::hls::stream<GridGroup, 32>& sums, bool& overflow) {
  bool seen = false;
  if (job.width % kLanes == 0) {
  sum_lines:
    for (uint64_t i = 0; i < job.all_groups(); ++i) {
#pragma HLS PIPELINE II = 1
      const GridGroup sum = sums.read();
      Line line;
    lanes:
      for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
        put_double(line, b, double_of_grid(sum.lane[b], seen));
      }
      part0[job.part_at[0] / kLineDoubles + i] = line;
    }
  } else {  // rows that begin inside lines: number by number
  sum_each:
    for (uint64_t i = 0; i < job.all_groups(); ++i) {
      const GridGroup sum = sums.read();
      const uint32_t first = static_cast<uint32_t>(i % job.groups()) * kLanes;
      const uint64_t start = job.part_at[0] + i / job.groups() * job.width + first;
      for (uint32_t b = 0; b < kLanes && first + b < job.width; ++b) {
        Line line = part0[(start + b) / kLineDoubles];
        put_double(line, static_cast<uint32_t>((start + b) % kLineDoubles), double_of_grid(sum.lane[b], seen));
        part0[(start + b) / kLineDoubles] = line;
      }
    }
  }
  overflow = seen;
}

inline void add_rows(const Line* part0, const Line* part1, const Line* part2, const Line* part3, Line* to, const Job& job,
                     bool& read_overflow, bool& sum_overflow) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  ::hls::stream<Line, 32> lines0, lines1, lines2, lines3;
  ::hls::stream<GridGroup, 32> sums;
  read_part(part0, 0, job, lines0);
  read_part(part1, 1, job, lines1);
  read_part(part2, 2, job, lines2);
  read_part(part3, 3, job, lines3);
  add_parts(job, lines0, lines1, lines2, lines3, sums, read_overflow);
  store_sums(to, job, sums, sum_overflow);
}

// ---- finish 1: bias, residual, LayerNorm

inline void read_residual(const Line* residual, const Job& job, ::hls::stream<Line, 32>& out) {
  load_rows(residual, job.residual_at, job.tokens, job.width, job.width, [&](const Line& line) { out.write(line); });
}

// Running sums of a row, kPhases of them a lane; the first group of a row's phase begins it anew.
template <typename Tag>
struct RowSum {
  using A = Arithmetic<Tag>;
  using Square = typename A::Square;
  Square at[A::kPhases][kLanes];
  void add(uint32_t group, uint32_t lane, Square value) {
#pragma HLS INLINE
    Square& sum = at[group % A::kPhases][lane];
    sum = group < A::kPhases ? value : static_cast<Square>(sum + value);
  }
  float total(uint32_t groups) const {
#pragma HLS INLINE
    Square lanes[kLanes];
  total_lanes:
    for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
      Square phases[A::kPhases];
    total_phases:
      for (uint32_t i = 0; i < A::kPhases; ++i) {
#pragma HLS UNROLL
        phases[i] = i < groups ? at[i][b] : Square(0);
      }
      lanes[b] = tree_sum(phases);
    }
    return A::real(tree_sum(lanes));
  }
};

// Counts groups of rows without a pause between rows.
struct Place {
  uint32_t group = 0;
  bool ends_row(const Job& job) const { return group + 1 == job.groups(); }
  void step(const Job& job) { group = ends_row(job) ? 0 : group + 1; }
};

// v = sum of parts + bias + residual, and its mean behind each row. Columns beyond the width are zero.
template <typename Tag>
void gather(const Job& job, const Norms& norms, ::hls::stream<GridGroup, 32>& sums, ::hls::stream<Line, 32>& residual,
            ::hls::stream<Group<Tag>, kRowDepth>& values, ::hls::stream<float, 4>& means) {
  using A = Arithmetic<Tag>;
  const float share = 1.0f / static_cast<float>(job.width);
  [[maybe_unused]] constexpr uint32_t kDistance = A::kPhases;
  RowSum<Tag> row_sum;
#pragma HLS ARRAY_PARTITION variable = row_sum.at type = complete dim = 0
  Place at;
  Line line = {};
gather_groups:
  for (uint64_t i = 0; i < job.all_groups(); ++i) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = row_sum.at type = inter direction = RAW distance = kDistance dependent = true
    const GridGroup sum = sums.read();
    if (at.group % 2 == 0) line = residual.read();
    Group<Tag> group;
  lanes:
    for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
      const uint32_t column = at.group * kLanes + b;
      const float added = float_of_grid(sum.lane[b]) + norms.bias[column] + float_of(line.word[(at.group % 2) * kLanes + b]);
      group.lane[b] = typename A::Value(column < job.width ? added : 0.0f);
      row_sum.add(at.group, b, typename A::Square(group.lane[b]));
    }
    values.write(group);
    if (at.ends_row(job)) means.write(row_sum.total(job.groups()) * share);
    at.step(job);
  }
}

// d = v - mean, and 1 / sqrt(mean of d^2 + eps) behind each row.
template <typename Tag>
void centre(const Job& job, ::hls::stream<Group<Tag>, kRowDepth>& values, ::hls::stream<float, 4>& means,
            ::hls::stream<Group<Tag>, kRowDepth>& centred, ::hls::stream<float, 4>& scales) {
  using A = Arithmetic<Tag>;
  using Value = typename A::Value;
  const float share = 1.0f / static_cast<float>(job.width);
  [[maybe_unused]] constexpr uint32_t kDistance = A::kPhases;
  RowSum<Tag> squares;
#pragma HLS ARRAY_PARTITION variable = squares.at type = complete dim = 0
  Place at;
  Value mean = Value(0);
centre_groups:
  for (uint64_t i = 0; i < job.all_groups(); ++i) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = squares.at type = inter direction = RAW distance = kDistance dependent = true
    if (at.group == 0) mean = Value(means.read());
    Group<Tag> group = values.read();
  lanes:
    for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
      const bool there = at.group * kLanes + b < job.width;
      group.lane[b] = there ? static_cast<Value>(group.lane[b] - mean) : Value(0);
      squares.add(at.group, b, static_cast<typename A::Square>(group.lane[b] * group.lane[b]));
    }
    centred.write(group);
    if (at.ends_row(job)) scales.write(1.0f / real_sqrt(squares.total(job.groups()) * share + job.eps));
    at.step(job);
  }
}

// y = d / std * weight + shift; fp32 in every instance, since 1 / std has no bound. A line of y for each two groups.
template <typename Tag>
void scale(const Job& job, const Norms& norms, ::hls::stream<Group<Tag>, kRowDepth>& centred,
           ::hls::stream<float, 4>& scales, ::hls::stream<Line, 32>& out) {
  Place at;
  float by = 0;
  float values[kLineFloats] = {};
scale_groups:
  for (uint64_t i = 0; i < job.all_groups(); ++i) {
#pragma HLS PIPELINE II = 1
    if (at.group == 0) by = scales.read();
    const Group<Tag> group = centred.read();
    const uint32_t half = at.group % 2;
  lanes:
    for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
      const uint32_t column = at.group * kLanes + b;
      values[half * kLanes + b] = Arithmetic<Tag>::real(group.lane[b]) * by * norms.weight[column] + norms.shift[column];
    }
    if (half == 1 || at.ends_row(job)) out.write(line_of(values));
    at.step(job);
  }
}

inline void store(Line* y, const Job& job, ::hls::stream<Line, 32>& lines) {
  const uint32_t chunks = (job.width + kLineFloats - 1) / kLineFloats;
  const uint64_t count = static_cast<uint64_t>(job.tokens) * chunks;
  if (job.width % kLineFloats == 0) {
  y_lines:
    for (uint64_t i = 0; i < count; ++i) {
#pragma HLS PIPELINE II = 1
      y[job.y_at / kLineFloats + i] = lines.read();
    }
    return;
  }
y_each:
  for (uint64_t i = 0; i < count; ++i) {
    const Line line = lines.read();
    float values[kLineFloats];
    for (int b = 0; b < kLineFloats; ++b) values[b] = float_of(line.word[b]);
    const uint32_t first = static_cast<uint32_t>(i % chunks) * kLineFloats;
    const uint32_t there = job.width - first < kLineFloats ? job.width - first : kLineFloats;
    store_floats(y, job.y_at + i / chunks * job.width + first, there, values);
  }
}

template <typename Tag>
void finish_rows(const Line* part0, const Line* part1, const Line* part2, const Line* part3, const Line* residual, Line* y,
                 const Job& job, const Norms& norms, bool& overflow) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  ::hls::stream<Line, 32> lines0, lines1, lines2, lines3, residual_lines, y_lines;
  ::hls::stream<GridGroup, 32> sums;
  ::hls::stream<Group<Tag>, kRowDepth> values, centred;
  ::hls::stream<float, 4> means, scales;
  read_part(part0, 0, job, lines0);
  read_part(part1, 1, job, lines1);
  read_part(part2, 2, job, lines2);
  read_part(part3, 3, job, lines3);
  read_residual(residual, job, residual_lines);
  add_parts(job, lines0, lines1, lines2, lines3, sums, overflow);
  gather<Tag>(job, norms, sums, residual_lines, values, means);
  centre<Tag>(job, values, means, centred, scales);
  scale<Tag>(job, norms, centred, scales, y_lines);
  store(y, job, y_lines);
}

// ---- the kernel

template <typename Tag>
KernelStatus run(Line* part0, const Line* part1, const Line* part2, const Line* part3, const Line* residual,
                 const Line* norms, Line* y, uint32_t finish, const Job& job) {
  if (job.parts == 0 || job.parts > kMostParts || job.width == 0 || job.width > kMostWidth || job.tokens > kMostTokens ||
      finish > 1) {
    return kStatusRefused;
  }
  bool overflow = false, sum_overflow = false;
  if (finish == 0) {
    add_rows(part0, part1, part2, part3, part0, job, overflow, sum_overflow);
  } else {
    Norms tables;
#pragma HLS ARRAY_PARTITION variable = tables.bias type = cyclic factor = 16
#pragma HLS ARRAY_PARTITION variable = tables.weight type = cyclic factor = 16
#pragma HLS ARRAY_PARTITION variable = tables.shift type = cyclic factor = 16
    load_norms(norms, job, tables);
    finish_rows<Tag>(part0, part1, part2, part3, residual, y, job, tables, overflow);
  }
  return overflow || sum_overflow ? kStatusOverflow : kStatusDone;
}

}  // namespace tessera::hls::ln
