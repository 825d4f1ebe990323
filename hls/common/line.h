// Defines what crosses a memory port in one beat: 64 bytes, and the numbers that it holds.
#pragma once

#include <cstdint>

namespace tessera::hls {

inline constexpr int kLineFloats = 16;
inline constexpr int kLineDoubles = 8;
inline constexpr int kLineBytes = 64;

// An m_axi beat of 512 bits. Word i is bytes [4 i, 4 i + 4) of memory, little-endian.
struct Line {
  uint32_t word[kLineFloats];
};
static_assert(sizeof(Line) == kLineBytes, "a line is one beat of a 512-bit port");

// Bits as numbers; a union, since that is what Vitis HLS turns into wires.
inline float float_of(uint32_t bits) {
  union {
    uint32_t bits;
    float value;
  } u;
  u.bits = bits;
  return u.value;
}

inline uint32_t bits_of(float value) {
  union {
    float value;
    uint32_t bits;
  } u;
  u.value = value;
  return u.bits;
}

}  // namespace tessera::hls
