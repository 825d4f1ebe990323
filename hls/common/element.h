// Widens stored elements to fp32 bit by bit: a few gates, no floating-point core.
#pragma once

#include "hls/common/line.h"

namespace tessera::hls {

// ElementType of framework/operands.h, in its order.
enum Element : uint32_t { kElementF32 = 0, kElementF16 = 1, kElementBf16 = 2 };

inline float float_of_bf16(uint16_t stored) { return float_of(static_cast<uint32_t>(stored) << 16); }

// IEEE half, subnormals, infinities and NaNs included.
inline float float_of_f16(uint16_t stored) {
#pragma HLS INLINE
  const uint32_t sign = static_cast<uint32_t>(stored & 0x8000u) << 16;
  const uint32_t exponent = (stored >> 10) & 31u;
  uint32_t fraction = stored & 0x3ffu;
  if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
  if (fraction == 0) return float_of(sign);
  uint32_t shift = 0;  // a subnormal: up to its leading one
normalise:
  for (int i = 0; i < 10; ++i) {
#pragma HLS UNROLL
    if ((fraction & 0x400u) == 0) {
      fraction <<= 1;
      ++shift;
    }
  }
  return float_of(sign | (113 - shift) << 23 | (fraction & 0x3ffu) << 13);
}

inline float float_of_half(uint16_t stored, uint32_t element) {
  return element == kElementF16 ? float_of_f16(stored) : float_of_bf16(stored);
}

}  // namespace tessera::hls
