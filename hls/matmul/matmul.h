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

#include "hls/common/arithmetic.h"
#include "hls/common/element.h"
#include "hls/common/grid.h"
#include "hls/common/rows.h"
#include "hls/common/stream.h"
#include "hls/kernels.h"
#include "hls/matmul/tile.h"

namespace tessera::hls::mm {

inline constexpr uint32_t kMostPanels = kMostOut / kColumns;
inline constexpr uint32_t kMostChunks = kMostIn / kLineFloats;
inline constexpr uint32_t kMostEntries = 256;  // of a dictionary
inline constexpr uint32_t kExactBits = 32;

// What a call works on. Scalars only: copied to each stage.
struct Job {
  uint32_t tokens, in, out, panels, tiles;
  uint32_t x_stride, y_stride;
  uint32_t bits, element, mode;
  uint64_t x_at, y_at;             // elements: floats; y doubles where summed
  uint64_t weights_at;             // lines
  uint32_t indices_byte;           // of the matrix: where indices or dense panels begin
  uint32_t outliers;               // in all
  uint64_t position_at, value_at;  // halves (16 bits)
  uint32_t chunks() const { return (in + kLineFloats - 1) / kLineFloats; }
};

// What precedes the tiles, on chip.
template <typename Tag>
struct Dictionary {
  typename Arithmetic<Tag>::Weight lane[kColumns][kMostEntries];  // a copy for each lane
};
struct PanelStarts {
  uint32_t at[kMostPanels + 1];  // outliers before each panel
};
struct Bias {
  float at[kMostOut];
};

template <typename Tag>
struct WeightRow {
  typename Arithmetic<Tag>::Weight column[kColumns];
};
template <typename Tag>
struct SumRow {
  typename Arithmetic<Tag>::Sum column[kColumns];
};
struct Outlier {
  uint32_t row, column;
  float value;
};

// Element k of row r at [r][k / 16][k % 16].
template <typename Tag>
using Tile = typename Arithmetic<Tag>::Activation[MatmulTile<Tag>::kRows][kMostChunks][kLineFloats];

constexpr uint32_t rounded(uint32_t n, uint32_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline bool valid(const Job& job) {
  const bool coded = job.bits >= 1 && job.bits <= 8;
  return job.tokens <= kMostTokens && job.in >= 1 && job.in <= kMostIn && job.out >= 1 && job.out <= kMostOut &&
         job.x_stride >= job.in && job.y_stride >= job.out && (coded || job.bits == kExactBits) &&
         job.element <= kElementBf16 && job.mode <= kAccumulate;
}

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
void multiply_tile(const Job& job, const Tile<Tag>& tile, Tile<Tag>& next, TileFiller<Tag>& filler,
                   ::hls::stream<Line, 32>& chunks, ::hls::stream<WeightRow<Tag>, 64>& rows,
                   ::hls::stream<SumRow<Tag>, 32>& out) {
#pragma HLS INLINE
  using A = Arithmetic<Tag>;
  constexpr uint32_t kRows = MatmulTile<Tag>::kRows;
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
#pragma HLS DEPENDENCE variable = tile type = inter dependent = false
#pragma HLS DEPENDENCE variable = next type = inter dependent = false
    if (!filler.full()) filler.step(next, job.chunks(), chunks);
    if (p > 0 && k < kRows) out.write(total<Tag>(ended.at, k));
    if (p < job.panels && k < job.in) mac<Tag>(tile, k, rows.read(), k < A::kPhases, running.at[k % A::kPhases]);
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
  Tile<Tag> tile[2];
// A bank for each row of each tile; 16 elements of a row enter at once.
#pragma HLS ARRAY_PARTITION variable = tile type = complete dim = 1
#pragma HLS ARRAY_PARTITION variable = tile type = complete dim = 2
#pragma HLS ARRAY_RESHAPE variable = tile type = complete dim = 4
  TileFiller<Tag> filler;
  filler.row = 0;
first_tile:
  while (!filler.full()) {
#pragma HLS PIPELINE II = 1
    filler.step(tile[0], job.chunks(), chunks);
  }
tiles:
  for (uint32_t i = 0; i < job.tiles; ++i) {
    if (i + 1 < job.tiles) filler.row = 0;
    multiply_tile<Tag>(job, tile[i % 2], tile[(i + 1) % 2], filler, chunks, rows, out);
  rest_of_tile:
    while (!filler.full()) {
#pragma HLS PIPELINE II = 1
      filler.step(tile[(i + 1) % 2], job.chunks(), chunks);
    }
  }
}

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

// ---- the kernel

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
