// GELU by a table in fixed point: one block of memory a lane pair, one multiplication an element.
#pragma once

#include "hls/common/fixed.h"
#include "hls/gelu/gelu.h"

namespace tessera::hls::gl {

inline constexpr int kSteps = 1024;  // of 1/64 over [-8, 8]
inline constexpr double kTableEnd = 8;

namespace table {

// erf by its series for small |z|, by a continued fraction of erfc beyond; for the compiler, which makes the table.
constexpr double exp_of(double x) {  // x <= 0
  double half = x / 1024, term = 1, sum = 1;
  for (int n = 1; n < 20; ++n) {
    term *= half / n;
    sum += term;
  }
  for (int i = 0; i < 10; ++i) sum *= sum;
  return sum;
}
constexpr double erf_of(double z) {
  const double a = z < 0 ? -z : z;
  double value = 0;
  if (a < 2.5) {
    double term = a;
    value = a;
    for (int n = 1; n < 60; ++n) {
      term *= -a * a / n;
      value += term / (2 * n + 1);
    }
    value *= 1.1283791670955126;  // 2 / sqrt pi
  } else {
    double fraction = 0;
    for (int n = 60; n > 0; --n) fraction = n / 2.0 / (a + fraction);
    value = 1 - exp_of(-a * a) / (a + fraction) * 0.56418958354775629;  // 1 / sqrt pi
  }
  return z < 0 ? -value : value;
}
constexpr double gelu_of(double x) { return x / 2 * (1 + erf_of(x * 0.70710678118654752)); }

// GELU at -8 + i / 64, in units of 2^-10: raw words of Activation.
struct Words {
  int16_t at[kSteps + 1] = {};
  constexpr Words() {
    for (int i = 0; i <= kSteps; ++i) {
      const double scaled = gelu_of(-kTableEnd + i * (2 * kTableEnd / kSteps)) * 1024;
      at[i] = static_cast<int16_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
  }
};
inline constexpr Words kWords{};

}  // namespace table

template <>
struct Gelu<Fixed16> {
  static float of(float real) {
#pragma HLS INLINE
    using Activation = Arithmetic<Fixed16>::Activation;
    const Activation x = Activation(real);
    if (x >= Activation(kTableEnd)) return x.to_float();
    if (x < Activation(-kTableEnd)) return 0.0f;
    // 14 bits: 10 name a step of the table, 4 lie within it.
    const ap_fixed<18, 8> from_end = x + ap_fixed<18, 8>(kTableEnd);
    const uint32_t units = static_cast<uint32_t>((from_end * 1024).to_int());
    const uint32_t step = units >> 4, within = units & 15u;
    const int32_t low = table::kWords.at[step], high = table::kWords.at[step + 1];
    const int32_t word = low + (((high - low) * static_cast<int32_t>(within) + 8) >> 4);
    return static_cast<float>(word) * (1.0f / 1024);
  }
};

}  // namespace tessera::hls::gl
