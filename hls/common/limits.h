// Says how large the kernels' operands may be: what their on-chip arrays hold.
#pragma once

#include <cstdint>

namespace tessera::hls {

inline constexpr uint32_t kMostIn = 4096;         // columns of a matrix, width of a norm
inline constexpr uint32_t kMostOut = 4096;        // rows of a matrix
inline constexpr uint32_t kMostHeadWidth = 128;   // of attention
inline constexpr uint32_t kMostParts = 4;         // of one layernorm_residual call
inline constexpr uint32_t kMostTokens = 1 << 20;  // of any call

}  // namespace tessera::hls
