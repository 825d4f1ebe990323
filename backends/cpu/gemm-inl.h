// Multiplies rows by weight panels, the accumulators in registers (included once per instruction set).
#if defined(TESSERA_CPU_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CPU_GEMM_INL_H_
#undef TESSERA_CPU_GEMM_INL_H_
#else
#define TESSERA_CPU_GEMM_INL_H_
#endif

#include <algorithm>
#include <array>
#include <utility>

#include "backends/cpu/kernels.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::CappedTag<float, kPanel>;
using V32 = hn::Vec<F32>;
inline constexpr int kLanes = HWY_LANES(float) < kPanel ? HWY_LANES(float) : kPanel;
inline constexpr int kPanelVectors = kPanel / kLanes;
// Registers decide the tile: 14 x 2 of 32 (512 bits), 6 x 2 of 16 (AVX2), 6 x 4 of 32 (NEON), 3 x 4 of 16.
inline constexpr int kTilePanels = kLanes == 16 ? 2 : 1;
inline constexpr int kTileRows = kLanes == 16 ? 14 : (kLanes == 8 || HWY_TARGET == HWY_NEON) ? 6 : 3;

// c [kRows][ldc] = a [kRows][k] * kPanels panels; the plain order of k in every element.
template <int kRows, int kPanels>
void tile(const float* HWY_RESTRICT a, size_t lda, const PanelBlock& block, float* HWY_RESTRICT c, size_t ldc) {
  constexpr int kVectors = kPanels * kPanelVectors;
  const F32 d;
  V32 sum[kRows][kVectors];
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  const float* HWY_RESTRICT b = block.b;
  const size_t stride = block.stride;
  const size_t leading = block.leading;
  for (size_t k = 0, end = static_cast<size_t>(block.k); k < end; ++k, b += leading) {
    V32 weights[kVectors];
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = hn::LoadU(d, b + static_cast<size_t>(v / kPanelVectors) * stride + v % kPanelVectors * kLanes);
    }
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      const V32 x = hn::Set(d, a[static_cast<size_t>(r) * lda + k]);
      HWY_UNROLL(16)
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, weights[v], sum[r][v]);
    }
  }
  HWY_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, c + static_cast<size_t>(r) * ldc + v * kLanes);
  }
}

using TileFunction = void (*)(const float*, size_t, const PanelBlock&, float*, size_t);
template <int kPanels, int... kRows>
constexpr std::array<TileFunction, sizeof...(kRows)> tiles_of(std::integer_sequence<int, kRows...>) {
  return {&tile<kRows + 1, kPanels>...};
}
// [panels - 1][rows - 1]
inline constexpr std::array<TileFunction, kTileRows> kTiles[kTilePanels] = {
    tiles_of<1>(std::make_integer_sequence<int, kTileRows>()),
#if HWY_CAP_GE512
    tiles_of<2>(std::make_integer_sequence<int, kTileRows>()),
#endif
};

// All panels of the block for `rows` <= kTileRows rows.
HWY_INLINE void tile_rows(int rows, const float* a, size_t lda, PanelBlock block, float* c, size_t ldc) {
  const int panels = block.panels;
  for (int p = 0; p < panels; p += kTilePanels) {
    kTiles[std::min(kTilePanels, panels - p) - 1][rows - 1](a, lda, block, c + p * kPanel, ldc);
    block.b += kTilePanels * block.stride;
  }
}

// Calls sink(row, rows, c) for tiles of nearly equal height; c is [rows][kTileColumns]. product.b.panels is at most 2.
template <typename Sink>
HWY_INLINE void for_tiles(const Product& product, const Sink& sink) {
  HWY_ALIGN float c[kMaxTileRows * kTileColumns];
  const int tiles = (product.rows + kTileRows - 1) / kTileRows;
  for (int t = 0, row = 0; t < tiles; ++t) {
    const int rows = product.rows / tiles + (t < product.rows % tiles ? 1 : 0);
    tile_rows(rows, product.a + static_cast<size_t>(row) * product.lda, product.lda, product.b, c, kTileColumns);
    sink(row, rows, c);
    row += rows;
  }
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
