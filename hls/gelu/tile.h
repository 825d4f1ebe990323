// Sizes of the GELU kernel: what it is built from and what its cycle model counts with.
#pragma once

#include <cstdint>

#include "hls/common/tags.h"

namespace tessera::hls {

namespace gl {

// Elements each cycle: an fp32 element takes an exp, a division and eleven multiply-adds; a fixed one a table look-up.
template <typename Tag>
struct GeluLanes;
template <>
struct GeluLanes<Real> {
  static constexpr uint32_t kLanes = 4;
};
template <>
struct GeluLanes<Fixed16> {
  static constexpr uint32_t kLanes = 16;
};

}  // namespace gl
}  // namespace tessera::hls
