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

// Writes floats [start, start + count) of `port`, count <= 16, from values[0 ..].
inline void store_floats(Line* port, uint64_t start, uint32_t count, const float (&values)[kLineFloats]) {
#pragma HLS INLINE
  if (start % kLineFloats == 0 && count == kLineFloats) {
    Line line;
  pack:
    for (int b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
      line.word[b] = bits_of(values[b]);
    }
    port[start / kLineFloats] = line;
    return;
  }
store_each:
  for (uint32_t b = 0; b < count; ++b) {
    Line line = port[(start + b) / kLineFloats];
    line.word[(start + b) % kLineFloats] = bits_of(values[b]);
    port[(start + b) / kLineFloats] = line;
  }
}

inline uint64_t double_bits(const Line& line, uint32_t lane) {
  return static_cast<uint64_t>(line.word[2 * lane + 1]) << 32 | line.word[2 * lane];
}

inline void put_double(Line& line, uint32_t lane, uint64_t bits) {
  line.word[2 * lane] = static_cast<uint32_t>(bits);
  line.word[2 * lane + 1] = static_cast<uint32_t>(bits >> 32);
}

// change(i, old bits) -> new bits, for each of the doubles [start, start + count) of `port`, count <= 16. Old bits are read
// only where `read`, else 0. Each double may be changed once in a call of a kernel.
template <typename Change>
void change_doubles(Line* port, uint64_t start, uint32_t count, bool read, Change&& change) {
#pragma HLS INLINE
  if (start % kLineDoubles == 0 && count % kLineDoubles == 0) {
  whole_lines:
    for (uint32_t l = 0; l < count / kLineDoubles; ++l) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = port type = inter dependent = false
      Line line = {};
      if (read) line = port[start / kLineDoubles + l];
    lanes:
      for (uint32_t b = 0; b < kLineDoubles; ++b) {
#pragma HLS UNROLL
        put_double(line, b, change(l * kLineDoubles + b, double_bits(line, b)));
      }
      port[start / kLineDoubles + l] = line;
    }
    return;
  }
change_each:
  for (uint32_t b = 0; b < count; ++b) {
    const uint64_t at = (start + b) / kLineDoubles;
    const uint32_t lane = static_cast<uint32_t>((start + b) % kLineDoubles);
    Line line = port[at];
    put_double(line, lane, change(b, read ? double_bits(line, lane) : 0));
    port[at] = line;
  }
}

}  // namespace tessera::hls
