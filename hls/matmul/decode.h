// Decodes a matrix on the fly: lines of the shard become rows of 16 weights, one row a cycle.
#pragma once

#include "hls/matmul/job.h"

namespace tessera::hls::mm {

// ---- before the first tile: dictionary, panel starts, bias

// Reads the dictionary and the panel starts, a word a cycle. Not `sound` where the starts cannot be those of a matrix.
template <typename Tag>
void load_header(const Line* weights, const Job& job, Dictionary<Tag>& dictionary, PanelStarts& starts, bool& sound) {
  Line lines[(kMostEntries + kMostPanels) / kLineFloats + 1];
  const bool coded = job.bits != kExactBits;
  const uint32_t entries = coded ? 1u << job.bits : 0;
  const uint32_t words = entries + job.panels + 1;
header_lines:
  for (uint32_t l = 0; l < (words + kLineFloats - 1) / kLineFloats; ++l) {
#pragma HLS PIPELINE II = 1
    lines[l] = coded ? weights[job.weights_at + l] : Line{};  // dense panels have no outliers
  }
  bool ascending = true;
  uint32_t last = 0;
header_words:
  for (uint32_t w = 0; w < words; ++w) {
#pragma HLS PIPELINE II = 1
    const uint32_t word = lines[w / kLineFloats].word[w % kLineFloats];
    if (w < entries) {
    copies:
      for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
        dictionary.lane[c][w] = typename Arithmetic<Tag>::Weight(float_of(word));
      }
    } else {
      // The first panel's outliers start at 0; a panel has in x 16 places for them.
      if (w == entries ? word != 0 : word < last || word - last > job.in * kColumns) ascending = false;
      starts.at[w - entries] = word;
      last = word;
    }
  }
  sound = ascending;
}

inline void load_bias(const float* biases, uint32_t bias_at, const Job& job, Bias& bias) {
  const uint32_t count = job.mode == kStore ? job.out : 0;
bias_values:
  for (uint32_t i = 0; i < count; ++i) {
#pragma HLS PIPELINE II = 1
    bias.at[i] = biases[bias_at + i];
  }
}

// Where the parts of the matrix lie, once its outliers are counted (shards/shard_format.h).
inline void place(Job& job, uint32_t outliers) {
  job.outliers = job.bits == kExactBits ? 0 : outliers;
  job.indices_byte = job.bits == kExactBits ? 0 : (4u << job.bits) + 4 * (job.panels + 1);
  const uint64_t begin = job.weights_at * kLineBytes;
  const uint32_t rows = job.panels * job.in;
  const uint64_t positions = begin + job.indices_byte + rounded(rows * 2 * job.bits, 4);
  job.position_at = positions / 2;
  job.value_at = (positions + rounded(2 * job.outliers, 4)) / 2;
}

// ---- the stages of a tile

inline uint32_t row_bytes(const Job& job) {
  return job.bits != kExactBits ? 2 * job.bits : job.element == kElementF32 ? 64 : 32;
}

// Sends the lines that hold indices or dense panels, and one or two of zeros, so that `unpack` may look ahead.
inline void read_lines(const Line* weights, const Job& job, ::hls::stream<Line, 32>& lines) {
  const uint64_t first = job.weights_at + job.indices_byte / kLineBytes;
  const uint32_t end = job.indices_byte % kLineBytes + job.panels * job.in * row_bytes(job);
  const uint32_t held = (end + kLineBytes - 1) / kLineBytes;
line_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
  index_lines:
    for (uint32_t l = 0; l < end / kLineBytes + 2; ++l) {
#pragma HLS PIPELINE II = 1
      Line line = {};
      if (l < held) line = weights[first + l];
      lines.write(line);
    }
  }
}

inline void read_positions(const uint16_t* positions, const Job& job, ::hls::stream<uint16_t, 64>& out) {
position_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
  outlier_positions:
    for (uint32_t i = 0; i < job.outliers; ++i) {
#pragma HLS PIPELINE II = 1
      out.write(positions[job.position_at + i]);
    }
  }
}

inline void read_values(const uint16_t* values, const Job& job, ::hls::stream<float, 64>& out) {
  const uint32_t halves = job.element == kElementF32 ? 2 : 1;
value_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
    uint16_t low = 0;
  outlier_values:
    for (uint32_t i = 0; i < job.outliers * halves; ++i) {
#pragma HLS PIPELINE II = 1
      const uint16_t half = values[job.value_at + i];
      if (halves == 1) {
        out.write(float_of_half(half, job.element));
      } else if (i % 2 == 1) {
        out.write(float_of(static_cast<uint32_t>(half) << 16 | low));
      }
      low = half;
    }
  }
}

// Two lines of bytes of which the next rows are cut.
struct Window {
  uint8_t byte[2 * kLineBytes];
};

inline void put_line(Window& window, uint32_t half, const Line& line) {
#pragma HLS INLINE
bytes:
  for (uint32_t i = 0; i < kLineBytes; ++i) {
#pragma HLS UNROLL
    window.byte[half * kLineBytes + i] = static_cast<uint8_t>(line.word[i / 4] >> (8 * (i % 4)));
  }
}

// Index c of a row of 16 that begins at byte `at`: bits [c * bits, (c + 1) * bits).
inline uint32_t index_in(const Window& window, uint32_t at, uint32_t c, uint32_t bits) {
#pragma HLS INLINE
  const uint32_t low = window.byte[at + c * bits / 8];
  const uint32_t high = window.byte[at + c * bits / 8 + 1];
  return (high << 8 | low) >> (c * bits % 8) & ((1u << bits) - 1);
}

// Lines of indices -> rows of 16 weights, one row a cycle.
template <typename Tag>
void unpack_coded(const Job& job, const Dictionary<Tag>& dictionary, ::hls::stream<Line, 32>& lines,
                  ::hls::stream<WeightRow<Tag>, 16>& rows) {
#pragma HLS INLINE
  Window window;
#pragma HLS ARRAY_PARTITION variable = window.byte type = complete
  put_line(window, 0, lines.read());
  put_line(window, 1, lines.read());
  uint32_t at = job.indices_byte % kLineBytes;
coded_rows:
  for (uint32_t i = 0; i < job.panels * job.in; ++i) {
#pragma HLS PIPELINE II = 1
    WeightRow<Tag> row;
  lookups:
    for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
      row.column[c] = dictionary.lane[c][index_in(window, at, c, job.bits)];
    }
    rows.write(row);
    at += 2 * job.bits;
    if (at >= kLineBytes) {
      at -= kLineBytes;
    shift:
      for (uint32_t b = 0; b < kLineBytes; ++b) {
#pragma HLS UNROLL
        window.byte[b] = window.byte[kLineBytes + b];
      }
      put_line(window, 1, lines.read());
    }
  }
}

// Lines of dense panels -> rows of 16 weights: a row is a line of f32, or half a line.
template <typename Tag>
void unpack_dense(const Job& job, ::hls::stream<Line, 32>& lines, ::hls::stream<WeightRow<Tag>, 16>& rows) {
#pragma HLS INLINE
  using A = Arithmetic<Tag>;
  const uint32_t count = job.panels * job.in;
  const bool wide = job.element == kElementF32;
  Line line = {};
dense_rows:
  for (uint32_t i = 0; i < count; ++i) {
#pragma HLS PIPELINE II = 1
    if (wide || i % 2 == 0) line = lines.read();
    WeightRow<Tag> row;
  widen:
    for (uint32_t c = 0; c < kColumns; ++c) {
#pragma HLS UNROLL
      const uint32_t pair = line.word[(i % 2) * (kColumns / 2) + c / 2];
      const uint16_t half = static_cast<uint16_t>(c % 2 == 0 ? pair : pair >> 16);
      row.column[c] = typename A::Weight(wide ? float_of(line.word[c]) : float_of_half(half, job.element));
    }
    rows.write(row);
  }
  // What read_lines sent beyond the last row.
  const uint32_t used = wide ? count : (count + 1) / 2;
rest:
  for (uint32_t l = used; l < count * row_bytes(job) / kLineBytes + 2; ++l) lines.read();
}

template <typename Tag>
void unpack(const Job& job, const Dictionary<Tag>& dictionary, ::hls::stream<Line, 32>& lines,
            ::hls::stream<WeightRow<Tag>, 16>& rows) {
unpack_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
    if (job.bits == kExactBits) {
      unpack_dense<Tag>(job, lines, rows);
    } else {
      unpack_coded<Tag>(job, dictionary, lines, rows);
    }
  }
}

// Tells `patch` how many outliers each panel has.
inline void count_outliers(const Job& job, const PanelStarts& starts, ::hls::stream<uint32_t, 32>& counts) {
count_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
  count_panels:
    for (uint32_t p = 0; p < job.panels; ++p) {
#pragma HLS PIPELINE II = 2
      counts.write(starts.at[p + 1] - starts.at[p]);
    }
  }
}

// Puts outliers in their places: a cycle for each row, and one for each outlier, panel after panel without a pause.
// Positions are ascending; one that is not is dropped, so that the stage always ends.
template <typename Tag>
void patch(const Job& job, ::hls::stream<uint32_t, 32>& counts, ::hls::stream<WeightRow<Tag>, 16>& plain,
           ::hls::stream<uint16_t, 64>& positions, ::hls::stream<float, 64>& values,
           ::hls::stream<WeightRow<Tag>, 64>& rows) {
  using Weight = typename Arithmetic<Tag>::Weight;
  const uint64_t steps = static_cast<uint64_t>(job.tiles) * (job.panels * job.in + job.outliers);
  uint32_t k = job.in;  // row of the panel that is sent next; at its end: all are sent
  uint32_t left = 0;    // outliers of the panel
  bool known = false;   // `next` is the next of them
  uint32_t next = 0;
  WeightRow<Tag> row = {};
  bool held = false;  // `row` is row k
patch_steps:
  for (uint64_t s = 0; s < steps; ++s) {
#pragma HLS PIPELINE II = 1
    if (k == job.in && left == 0) {  // the next panel
      k = 0;
      left = counts.read();
    }
    if (!known && left > 0) {
      next = positions.read();
      known = true;
    }
    if (!held && k < job.in) {
      row = plain.read();
      held = true;
    }
    if (known && (next / kColumns <= k || k == job.in)) {
      const float value = values.read();
      if (next / kColumns == k && k < job.in) row.column[next % kColumns] = Weight(value);
      known = false;
      --left;
    } else {
      rows.write(row);
      held = false;
      ++k;
    }
  }
}

}  // namespace tessera::hls::mm
