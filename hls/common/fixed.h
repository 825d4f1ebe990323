// Says what the kernels compute with in fixed point: 16-bit operands, one DSP48E2 a product, 48-bit sums.
#pragma once

#include <ap_fixed.h>

#include "hls/common/arithmetic.h"

namespace tessera::hls {

template <>
struct Arithmetic<Fixed16> {
  // Activations behind a LayerNorm stay within a few tens; weights within +-4 (outliers beyond saturate).
  using Activation = ap_fixed<16, 6, AP_RND, AP_SAT>;  // +-32, steps of 2^-10
  using Weight = ap_fixed<16, 3, AP_RND, AP_SAT>;      // +-4, steps of 2^-13
  using Sum = ap_fixed<48, 25>;                        // a DSP48E2's accumulator: exact for 2^16 products
  using Share = ap_ufixed<16, 1, AP_RND, AP_SAT>;      // steps of 2^-15
  using Value = ap_fixed<32, 12, AP_RND, AP_SAT>;      // steps of 2^-20
  using Square = ap_fixed<64, 36>;
  static constexpr int kPhases = 1;  // an integer adder is ready for the next product
  static constexpr int kDspPerMac = 1;
  template <typename T>
  static float real(const T& x) {
    return x.to_float();
  }
};

}  // namespace tessera::hls
