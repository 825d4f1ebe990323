// Says what the kernels compute with: fp32. hls/common/fixed.h says it for fixed point.
//
// A kernel's body is templated on a tag (Real, Fixed16) and asks Arithmetic<tag> for its types. Memory holds fp32 in every
// instance: numbers are converted where a kernel loads and stores.
#pragma once

#include "hls/common/tags.h"

namespace tessera::hls {

template <typename Tag>
struct Arithmetic;

template <>
struct Arithmetic<Real> {
  using Activation = float;
  using Weight = float;
  using Sum = float;    // of products
  using Share = float;  // in [0, 1]: softmax
  using Value = float;  // of a norm
  using Square = float;
  // Running sums of one output that take turns, so that an adder of up to so many cycles accepts a product each cycle. Their
  // order of addition depends on the number of products alone.
  static constexpr int kPhases = 8;
  static constexpr int kDspPerMac = 5;  // fmul 3, fadd 2 on UltraScale+ (Vivado floating-point operator, PG060)
  static float real(float x) { return x; }
};

// Adds v[0 .. n) as a tree; n a power of two.
template <int kN, typename T>
T tree_sum(T (&v)[kN]) {
#pragma HLS INLINE
  static_assert(kN > 0 && (kN & (kN - 1)) == 0, "a tree halves");
level:
  for (int half = kN / 2; half >= 1; half /= 2) {
#pragma HLS UNROLL
  pair:
    for (int i = 0; i < half; ++i) {
#pragma HLS UNROLL
      v[i] = static_cast<T>(v[i] + v[i + half]);
    }
  }
  return v[0];
}

}  // namespace tessera::hls
