// Applies the exact GELU, x/2 (1 + erf(x / sqrt 2)), to lines of numbers.
//
//   x ─► read ─► line ─► kLanes elements a cycle ─► line ─► write ─► y
//
// fp32: erf by Abramowitz & Stegun 7.1.26 (1964), error below 1.5e-7, so the result is off by less than 1e-7 |x|.
// Fixed point: a table of 1025 values over [-8, 8], interpolated; beyond, GELU is 0 or x within 1e-14.
#pragma once

#include "hls/common/real_math.h"
#include "hls/common/rows.h"
#include "hls/common/stream.h"
#include "hls/gelu/tile.h"
#include "hls/kernels.h"

namespace tessera::hls::gl {

template <typename Tag>
struct Gelu;

template <>
struct Gelu<Real> {
  static float of(float x) {
#pragma HLS INLINE
    const float z = x * 0.70710678118654752f;
    const float a = z < 0 ? -z : z;
    const float t = 1.0f / (1.0f + 0.3275911f * a);
    const float poly =
        t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    const float rest = poly * real_exp(-a * a);  // 1 - erf(a)
    return 0.5f * x * (z < 0 ? rest : 2.0f - rest);
  }
};

inline void read(const Line* x, uint32_t x_at, uint32_t lines, ::hls::stream<Line, 32>& out) {
read_lines:
  for (uint32_t l = 0; l < lines; ++l) {
#pragma HLS PIPELINE II = 1
    out.write(x[x_at + l]);
  }
}

template <typename Tag>
void apply(uint32_t lines, ::hls::stream<Line, 32>& in, ::hls::stream<Line, 32>& out) {
  constexpr uint32_t kLanes = GeluLanes<Tag>::kLanes;
  [[maybe_unused]] constexpr uint32_t kInterval = kLineFloats / kLanes;
each_line:
  for (uint32_t l = 0; l < lines; ++l) {
#pragma HLS PIPELINE II = kInterval
    const Line from = in.read();
    Line to;
  lanes:
    for (uint32_t b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
      to.word[b] = bits_of(Gelu<Tag>::of(float_of(from.word[b])));
    }
    out.write(to);
  }
}

inline void write(Line* y, uint32_t y_at, uint32_t lines, ::hls::stream<Line, 32>& in) {
write_lines:
  for (uint32_t l = 0; l < lines; ++l) {
#pragma HLS PIPELINE II = 1
    y[y_at + l] = in.read();
  }
}

template <typename Tag>
KernelStatus run(const Line* x, Line* y, uint32_t x_at, uint32_t y_at, uint32_t lines) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  ::hls::stream<Line, 32> from, to;
  read(x, x_at, lines, from);
  apply<Tag>(lines, from, to);
  write(y, y_at, lines, to);
  return kStatusDone;
}

}  // namespace tessera::hls::gl
