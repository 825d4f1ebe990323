// Names the instances of the kernels: what they compute with (hls/common/arithmetic.h, fixed.h).
#pragma once

namespace tessera::hls {

struct Real {};     // fp32
struct Fixed16 {};  // 16-bit fixed point, 48-bit sums

}  // namespace tessera::hls
