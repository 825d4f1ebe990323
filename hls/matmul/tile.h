// Sizes of the MAC array: what the kernel is built from and what its cycle model counts with.
#pragma once

#include <cstdint>

#include "hls/common/tags.h"

namespace tessera::hls {

namespace mm {

inline constexpr uint32_t kColumns = 16;  // outputs at once: a panel of shards/shard_format.h

// Rows at once. fp32 takes 5 DSPs a MAC, fixed point one.
template <typename Tag>
struct MatmulTile;

template <uint32_t kTileRows, uint32_t kTilePhases>
struct TileOf {
  static constexpr uint32_t kRows = kTileRows;
  static constexpr uint32_t kPhases = kTilePhases;  // running sums of an output that take turns
  static constexpr uint32_t kMacs = kRows * kColumns;
  // Steps of a panel: one for each input, but never fewer than it takes the sums of the panel before to leave.
  static constexpr uint32_t steps(uint32_t in) { return in > kRows ? in : kRows; }
  static_assert(kRows >= kTilePhases, "every phase begins anew in each panel");
  static_assert(kRows % 16 == 0, "a tile of whole rows begins at a line");
};

template <>
struct MatmulTile<Real> : TileOf<16, 8> {};
template <>
struct MatmulTile<Fixed16> : TileOf<32, 1> {};

}  // namespace mm
}  // namespace tessera::hls
