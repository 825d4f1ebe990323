// Works on rows: norms, GELU, softmax, the fixed grid (included once per instruction set).
#if defined(TESSERA_CPU_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CPU_ROWS_INL_H_
#undef TESSERA_CPU_ROWS_INL_H_
#else
#define TESSERA_CPU_ROWS_INL_H_
#endif

#include <cmath>

#include "backends/cpu/decode-inl.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F64 = hn::Repartition<double, F32>;
using Half32 = hn::Rebind<float, F64>;
inline constexpr int kWideLanes = kLanes / 2;

// erf on [-4, 4] as an odd rational function, clamped outside (the minimax fit of Eigen's and XLA's fp32 erf).
HWY_INLINE V32 erf(V32 x) {
  const F32 d;
  x = hn::Clamp(x, hn::Set(d, -4.0f), hn::Set(d, 4.0f));
  const V32 s = hn::Mul(x, x);
  V32 top = hn::Set(d, -2.72614225801306e-10f);
  for (const float c : {2.77068142495902e-08f, -2.10102402082508e-06f, -5.69250639462346e-05f, -7.34990630326855e-04f,
                        -2.95459980854025e-03f, -1.60960333262415e-02f}) {
    top = hn::MulAdd(top, s, hn::Set(d, c));
  }
  V32 bottom = hn::Set(d, -1.45660718464996e-05f);
  for (const float c : {-2.13374055278905e-04f, -1.68282697438203e-03f, -7.37332916720468e-03f, -1.42647390514189e-02f}) {
    bottom = hn::MulAdd(bottom, s, hn::Set(d, c));
  }
  return hn::Div(hn::Mul(x, top), bottom);
}

HWY_INLINE V32 gelu(V32 x) {
  const F32 d;
  const V32 half = hn::Mul(x, hn::Set(d, 0.5f));
  return hn::MulAdd(half, erf(hn::Mul(x, hn::Set(d, 0.70710678f))), half);
}

// Rounds to multiples of 2^-32, exact for |p| < 2^19: sums of up to 64 such values are exact, so their order is free.
HWY_INLINE hn::Vec<F64> to_grid(hn::Vec<F64> p) {
  const auto shift = hn::Set(F64(), 1572864.0);  // 1.5 * 2^20: one unit in the last place is 2^-32
  return hn::Sub(hn::Add(p, shift), shift);
}

HWY_INLINE void add_to_grid(const float* HWY_RESTRICT c, int rows, int columns, double* HWY_RESTRICT acc, bool first) {
  const F64 d;
  for (int r = 0; r < rows; ++r, c += kTileColumns, acc += kTileColumns) {
    for (int i = 0; i < columns; i += kWideLanes) {
      const auto p = to_grid(hn::PromoteTo(d, hn::LoadU(Half32(), c + i)));
      hn::StoreU(first ? p : hn::Add(hn::LoadU(d, acc + i), p), d, acc + i);
    }
  }
}

void FinishRows(const Finish& f) {
  const F64 d;
  const Half32 h;
  for (int r = 0; r < f.rows; ++r) {
    const double* acc = f.acc + static_cast<size_t>(r) * f.acc_ld;
    const float* residual = f.residual + static_cast<size_t>(r) * f.ld;
    float* out = f.out + static_cast<size_t>(r) * f.ld;
    int c = 0;
    for (; c + kWideLanes <= f.columns; c += kWideLanes) {
      const auto sum = hn::Add(hn::DemoteTo(h, hn::LoadU(d, acc + c)), hn::LoadU(h, f.bias + c));
      hn::StoreU(hn::Add(sum, hn::LoadU(h, residual + c)), h, out + c);
    }
    for (; c < f.columns; ++c) out[c] = static_cast<float>(acc[c]) + f.bias[c] + residual[c];
  }
}

// Sum over `width` of f(vector), lanes added in one fixed order, the tail last.
template <typename F>
HWY_INLINE float sum_of(const float* x, int width, const F& f) {
  const F32 d;
  V32 sum = hn::Zero(d);
  int i = 0;
  for (; i + kLanes <= width; i += kLanes) sum = hn::Add(sum, f(hn::LoadU(d, x + i)));
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < width; ++i) total += hn::GetLane(f(hn::Set(d, x[i])));
  return total;
}

void LayerNormRows(float* x, int rows, const Norm& norm) {
  const F32 d;
  for (int r = 0; r < rows; ++r, x += norm.width) {
    const float mean = sum_of(x, norm.width, [](V32 v) HWY_ATTR { return v; }) / static_cast<float>(norm.width);
    const V32 means = hn::Set(d, mean);
    const float squares = sum_of(x, norm.width, [means](V32 v) HWY_ATTR {
      const V32 off = hn::Sub(v, means);
      return hn::Mul(off, off);
    });
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(norm.width) + norm.eps);
    const V32 scales = hn::Set(d, scale);
    int i = 0;
    for (; i + kLanes <= norm.width; i += kLanes) {
      const V32 unit = hn::Mul(hn::Sub(hn::LoadU(d, x + i), means), scales);
      hn::StoreU(hn::MulAdd(unit, hn::LoadU(d, norm.weight + i), hn::LoadU(d, norm.bias + i)), d, x + i);
    }
    for (; i < norm.width; ++i) x[i] = std::fma((x[i] - mean) * scale, norm.weight[i], norm.bias[i]);
  }
}

// scores [padded] -> exp(scale * (score - highest)) with zeros from `tokens` on; returns 1 / sum.
HWY_INLINE float softmax_row(float* HWY_RESTRICT scores, int tokens, int padded, float scale) {
  const F32 d;
  for (int i = tokens; i < padded; ++i) scores[i] = -3.0e38f;
  V32 highest = hn::LoadU(d, scores);
  for (int i = kLanes; i < padded; i += kLanes) highest = hn::Max(highest, hn::LoadU(d, scores + i));
  const V32 top = hn::MaxOfLanes(d, highest);
  const V32 scales = hn::Set(d, scale);
  V32 sum = hn::Zero(d);
  for (int i = 0; i < padded; i += kLanes) {
    // Below -87 the exponential is 0 in fp32; the clamp keeps the padding's difference finite.
    const V32 off = hn::Max(hn::Mul(hn::Sub(hn::LoadU(d, scores + i), top), scales), hn::Set(d, -104.0f));
    const V32 e = hn::Exp(d, off);
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, scores + i);
  }
  return 1.0f / hn::GetLane(hn::SumOfLanes(d, sum));
}

// ctx = softmax(q k^T / sqrt(W)) v for up to kTileRows queries; the context replaces q.
HWY_INLINE void attend_tile(const Attention& a, float* q, int rows) {
  const int panels = (a.tokens + kPanel - 1) / kPanel;
  const int padded = panels * kPanel;
  const size_t width = static_cast<size_t>(a.padded_width);
  const PanelBlock keys = {a.keys, kPanel, static_cast<size_t>(a.width) * kPanel, panels, a.width};
  tile_rows(rows, q, width, keys, a.scores, static_cast<size_t>(padded));
  float inverse[kMaxTileRows];
  const float scale = 1.0f / std::sqrt(static_cast<float>(a.width));
  for (int r = 0; r < rows; ++r) inverse[r] = softmax_row(a.scores + r * padded, a.tokens, padded, scale);
  const PanelBlock values = {a.values, width, kPanel, a.padded_width / kPanel, a.tokens};
  tile_rows(rows, a.scores, static_cast<size_t>(padded), values, q, width);
  const F32 d;
  for (int r = 0; r < rows; ++r) {
    const V32 scales = hn::Set(d, inverse[r]);
    for (size_t i = 0; i < width; i += kLanes) {
      float* at = q + static_cast<size_t>(r) * width + i;
      hn::StoreU(hn::Mul(hn::LoadU(d, at), scales), d, at);
    }
  }
}

void Attend(const Attention& a) {
  const int tiles = (a.rows + kTileRows - 1) / kTileRows;
  for (int t = 0, row = 0; t < tiles; ++t) {
    const int rows = a.rows / tiles + (t < a.rows % tiles ? 1 : 0);
    attend_tile(a, a.q + static_cast<size_t>(row) * a.padded_width, rows);
    row += rows;
  }
}

template <typename Stored>
HWY_INLINE void load_rows(const std::byte* from, int count, bool add, float* HWY_RESTRICT to) {
  const F32 d;
  const hn::Rebind<Stored, F32> half;
  const auto* stored = reinterpret_cast<const Stored*>(from);
  HWY_ALIGN Stored tail[kPanel] = {};
  HWY_ALIGN float sums[kPanel];
  for (int i = 0; i < count; i += kLanes) {
    const int lanes = std::min(kLanes, count - i);
    std::copy_n(stored + i, lanes, tail);
    V32 v = hn::Zero(d);
    if constexpr (sizeof(Stored) == 4) {
      v = hn::LoadU(d, tail);
    } else {
      v = hn::PromoteTo(d, hn::LoadU(half, tail));
    }
    hn::Store(v, d, sums);
    for (int j = 0; j < lanes; ++j) to[i + j] = add ? to[i + j] + sums[j] : sums[j];
  }
}

void LoadElements(ElementType type, const std::byte* from, int count, bool add, float* to) {
  switch (type) {
    case ElementType::kF32:
      return load_rows<float>(from, count, add, to);
    case ElementType::kF16:
      return load_rows<hwy::float16_t>(from, count, add, to);
    case ElementType::kBf16:
      return load_rows<hwy::bfloat16_t>(from, count, add, to);
  }
}

// Four chains of lanes, then the tail: one order for every caller.
template <typename Stored>
HWY_INLINE float dot_rows(const std::byte* weights, const float* HWY_RESTRICT x, int count) {
  const F32 d;
  const hn::Rebind<Stored, F32> half;
  const auto* w = reinterpret_cast<const Stored*>(weights);
  const auto wide = [&](int i) HWY_ATTR {
    if constexpr (sizeof(Stored) == 4) {
      return hn::LoadU(d, w + i);
    } else {
      return hn::PromoteTo(d, hn::LoadU(half, w + i));
    }
  };
  V32 sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  int i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    HWY_UNROLL(4)
    for (int c = 0; c < 4; ++c) sum[c] = hn::MulAdd(wide(i + c * kLanes), hn::LoadU(d, x + i + c * kLanes), sum[c]);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]))));
  HWY_ALIGN float rest[4 * kPanel];
  load_rows<Stored>(weights + i * sizeof(Stored), count - i, false, rest);
  for (int j = i; j < count; ++j) total += rest[j - i] * x[j];
  return total;
}

float DotElements(ElementType type, const std::byte* weights, const float* x, int count) {
  switch (type) {
    case ElementType::kF32:
      return dot_rows<float>(weights, x, count);
    case ElementType::kF16:
      return dot_rows<hwy::float16_t>(weights, x, count);
    case ElementType::kBf16:
      return dot_rows<hwy::bfloat16_t>(weights, x, count);
  }
  return 0;
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
