// Sizes of the LayerNorm kernel: what it is built from and what its cycle model counts with.
#pragma once

#include <cstdint>

#include "hls/common/line.h"

namespace tessera::hls::ln {

inline constexpr uint32_t kLanes = kLineDoubles;  // elements of a row each cycle: a line of doubles

}  // namespace tessera::hls::ln
