// Moves rows between memory lines and on-chip arrays. A row may begin inside a line: lanes are rotated as lines pass.
//
// Rows that are whole lines cost one cycle a line. Others cost one line more to read, and are written element by element
// (read, change, write back): correct, slow, and met only where a width is no multiple of 16.
#pragma once

#include "hls/common/line.h"

namespace tessera::hls {

// Sends words [start, start + count) of `port` to sink(chunk, line): words [16 chunk, 16 chunk + 16) of the row, zeros
// behind its end. A double is two words.
template <typename Sink>
void load_row(const Line* port, uint64_t start, uint32_t count, Sink&& sink) {
#pragma HLS INLINE
  const uint64_t first = start / kLineFloats;
  const uint32_t head = static_cast<uint32_t>(start % kLineFloats);
  const uint32_t lines = (head + count + kLineFloats - 1) / kLineFloats;
  const uint32_t ahead = head == 0 ? 0 : 1;  // a chunk's end lies in the next line
  const uint32_t chunks = (count + kLineFloats - 1) / kLineFloats;
  Line last = {};
load_lines:
  for (uint32_t l = 0; l < chunks + ahead; ++l) {
#pragma HLS PIPELINE II = 1
    Line line = {};
    if (l < lines) line = port[first + l];
    Line row = {};
    const uint32_t chunk = l - ahead;
  lanes:
    for (uint32_t b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
      const bool here = ahead == 0 || b + head >= kLineFloats;
      const uint32_t word = here ? line.word[(b + head) % kLineFloats] : last.word[(b + head) % kLineFloats];
      if (chunk * kLineFloats + b < count) row.word[b] = word;
    }
    if (l >= ahead) sink(chunk, row);
    last = line;
  }
}

// Sends all rows of a matrix, chunk by chunk: sink(line). Rows of `count` words begin `stride` words apart. Rows of whole
// lines are one long burst; what their padding holds is sent as it is.
template <typename Sink>
void load_rows(const Line* port, uint64_t start, uint32_t rows, uint32_t count, uint32_t stride, Sink&& sink) {
#pragma HLS INLINE
  const uint32_t chunks = (count + kLineFloats - 1) / kLineFloats;
  if (start % kLineFloats == 0 && stride == chunks * kLineFloats) {
  burst:
    for (uint32_t l = 0; l < rows * chunks; ++l) {
#pragma HLS PIPELINE II = 1
      sink(port[start / kLineFloats + l]);
    }
    return;
  }
each_row:
  for (uint32_t r = 0; r < rows; ++r) {
    load_row(port, start + static_cast<uint64_t>(r) * stride, count, [&](uint32_t, const Line& line) { sink(line); });
  }
}

// Writes floats [start, start + count) of `port`, count <= 16, one by one.
inline void store_floats(Line* port, uint64_t start, uint32_t count, const float (&values)[kLineFloats]) {
store_each:
  for (uint32_t b = 0; b < count; ++b) {
    Line line = port[(start + b) / kLineFloats];
    line.word[(start + b) % kLineFloats] = bits_of(values[b]);
    port[(start + b) / kLineFloats] = line;
  }
}

inline Line line_of(const float (&values)[kLineFloats]) {
#pragma HLS INLINE
  Line line;
pack:
  for (int b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
    line.word[b] = bits_of(values[b]);
  }
  return line;
}

inline uint64_t double_bits(const Line& line, uint32_t lane) {
  return static_cast<uint64_t>(line.word[2 * lane + 1]) << 32 | line.word[2 * lane];
}

inline void put_double(Line& line, uint32_t lane, uint64_t bits) {
  line.word[2 * lane] = static_cast<uint32_t>(bits);
  line.word[2 * lane + 1] = static_cast<uint32_t>(bits >> 32);
}

}  // namespace tessera::hls
