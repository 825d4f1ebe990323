// Sums slices exactly: multiples of 2^-32 as 64-bit integers, and as the doubles that cross the memory port.
//
// A slice's part is rounded to the grid once; adding is then an integer adder, and the order of slices is free. The doubles
// are the f64 partials of framework/operands.h, bit for bit those of backends/cpu ("Bits" in its README).
#pragma once

#include "hls/common/line.h"

namespace tessera::hls {

using Grid = int64_t;                           // in units of 2^-32
inline constexpr int kGridBits = 32;            // of fraction
inline constexpr int kPartBits = 19;            // |part| < 2^19
inline constexpr Grid kSumEnd = Grid{1} << 53;  // |sum| < 2^21: beyond, a double no longer holds it exactly

// magnitude * 2^shift, to nearest, ties to even; shift in [-2047, 27].
inline uint64_t shifted(uint64_t magnitude, int shift) {
#pragma HLS INLINE
  if (shift >= 0) return magnitude << shift;
  const int right = -shift;
  if (right > 54) return 0;
  const uint64_t kept = magnitude >> right;
  const uint64_t lost = magnitude - (kept << right);
  const uint64_t half = uint64_t{1} << (right - 1);
  return kept + ((lost > half || (lost == half && (kept & 1) != 0)) ? 1 : 0);
}

// Rounds a part to the grid. Sets `overflow` (and returns 0) where |value| >= 2^19 or the value is no number.
inline Grid grid_of(float value, bool& overflow) {
#pragma HLS INLINE
  const uint32_t bits = bits_of(value);
  const int exponent = static_cast<int>((bits >> 23) & 255u);
  if (exponent >= 127 + kPartBits) {
    overflow = true;
    return 0;
  }
  const uint64_t fraction = bits & 0x7fffffu;
  // value = magnitude * 2^(exponent - 150), subnormals with exponent 1
  const uint64_t magnitude = exponent == 0 ? fraction : fraction | 0x800000u;
  const Grid units = static_cast<Grid>(shifted(magnitude, (exponent == 0 ? 1 : exponent) - 150 + kGridBits));
  return (bits >> 31) != 0 ? -units : units;
}

// Reads a sum from its double. Sets `overflow` (and returns 0) where |sum| >= 2^21 or it is no number.
inline Grid grid_of_double(uint64_t bits, bool& overflow) {
#pragma HLS INLINE
  const int exponent = static_cast<int>((bits >> 52) & 0x7ffu);
  if (exponent >= 1023 + 21) {
    overflow = true;
    return 0;
  }
  if (exponent == 0) return 0;  // zero, or below 2^-1022
  const uint64_t magnitude = (bits & 0xfffffffffffffu) | 0x10000000000000u;
  const Grid units = static_cast<Grid>(shifted(magnitude, exponent - 1075 + kGridBits));
  return (bits >> 63) != 0 ? -units : units;
}

// The double of a sum; exact. Sets `overflow` where |sum| >= 2^21.
inline uint64_t double_of_grid(Grid sum, bool& overflow) {
#pragma HLS INLINE
  if (sum >= kSumEnd || sum <= -kSumEnd) overflow = true;
  union {
    double value;
    uint64_t bits;
  } u;
  u.value = static_cast<double>(sum);
  if (sum != 0) u.bits -= uint64_t{kGridBits} << 52;
  return u.bits;
}

// The nearest float of a sum.
inline float float_of_grid(Grid sum) {
#pragma HLS INLINE
  if (sum == 0) return 0.0f;
  return float_of(bits_of(static_cast<float>(sum)) - (static_cast<uint32_t>(kGridBits) << 23));
}

}  // namespace tessera::hls
