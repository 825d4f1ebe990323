// Sizes of the attention kernel: what it is built from and what its cycle model counts with.
#pragma once

#include <cstdint>

namespace tessera::hls::attn {

inline constexpr uint32_t kQueries =
    16;                                 // of a pass over keys and values; they take turns, so that chains of additions rest
inline constexpr uint32_t kLanes = 32;  // products of a score, and of a value product, each cycle
// A query's running values are needed again after kQueries cycles; until then fmul + fadd must have ended.
static_assert(kQueries >= 12, "fmul 4 and fadd 7 cycles, fp32 at 300 MHz");

}  // namespace tessera::hls::attn
