// Gives kernels exp and sqrt in fp32: Vitis HLS's cores in synthesis, the standard library's in C simulation.
#pragma once

#ifdef __SYNTHESIS__
#include <hls_math.h>
namespace tessera::hls {
inline float real_exp(float x) { return ::hls::exp(x); }
inline float real_sqrt(float x) { return ::hls::sqrt(x); }
}  // namespace tessera::hls
#else
#include <cmath>
namespace tessera::hls {
inline float real_exp(float x) { return std::exp(x); }
inline float real_sqrt(float x) { return std::sqrt(x); }
}  // namespace tessera::hls
#endif
