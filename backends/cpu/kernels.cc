// Compiles the kernels once per instruction set and calls the best that this machine has.
#include "backends/cpu/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "backends/cpu/rows-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {

template <typename Activation>
HWY_INLINE void product_rows(const Product& product, const float* bias, float* out, size_t ldc, const Activation& f) {
  const int columns = product.b.panels * kPanel;
  for_tiles(product, [&](int row, int rows, const float* c) HWY_ATTR {
    const F32 d;
    float* to = out + static_cast<size_t>(row) * ldc;
    for (int r = 0; r < rows; ++r, to += ldc, c += kTileColumns) {
      for (int i = 0; i < columns; i += kLanes) {
        hn::StoreU(f(hn::Add(hn::LoadU(d, c + i), hn::LoadU(d, bias + i))), d, to + i);
      }
    }
  });
}

void ProductBias(const Product& product, const float* bias, float* c, size_t ldc) {
  product_rows(product, bias, c, ldc, [](V32 v) HWY_ATTR { return v; });
}

void ProductBiasGelu(const Product& product, const float* bias, float* c, size_t ldc) {
  product_rows(product, bias, c, ldc, [](V32 v) HWY_ATTR { return gelu(v); });
}

// Columns [0, valid) of one token go to row k = column of its panel, at the token's lane.
void ProductBiasKeys(const Product& product, const float* bias, const KeyTarget& to) {
  const int valid = std::min(product.b.panels * kPanel, to.width - to.first_column);
  const size_t panel = static_cast<size_t>(to.width) * kPanel;
  int sequence = 0;
  float* base = to.panels;  // of the sequence
  for_tiles(product, [&](int row, int rows, const float* c) HWY_ATTR {
    for (int r = 0; r < rows; ++r, c += kTileColumns) {
      const int token = to.first_row + row + r;
      while (token >= to.starts[sequence + 1]) {
        base += panel * static_cast<size_t>((to.starts[sequence + 1] - to.starts[sequence] + kPanel - 1) / kPanel);
        ++sequence;
      }
      const int place = token - to.starts[sequence];
      float* at = base + static_cast<size_t>(place / kPanel) * panel + static_cast<size_t>(to.first_column) * kPanel +
                  place % kPanel;
      for (int i = 0; i < valid; ++i) at[i * kPanel] = c[i] + bias[i];
    }
  });
}

void ProductGrid(const Product& product, double* acc, bool first) {
  for_tiles(product, [&](int row, int rows, const float* c) HWY_ATTR {
    add_to_grid(c, rows, product.b.panels * kPanel, acc + static_cast<size_t>(row) * kTileColumns, first);
  });
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }
int TargetLanes() { return kLanes; }

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::cpu {

HWY_EXPORT(Fp32Panels);
HWY_EXPORT(ProductBias);
HWY_EXPORT(ProductBiasGelu);
HWY_EXPORT(ProductBiasKeys);
HWY_EXPORT(ProductGrid);
HWY_EXPORT(Attend);
HWY_EXPORT(FinishRows);
HWY_EXPORT(LayerNormRows);
HWY_EXPORT(LoadElements);
HWY_EXPORT(DotElements);
HWY_EXPORT(TargetName);
HWY_EXPORT(TargetLanes);

const float* fp32_panels(const MatrixView& matrix, int first, int count, float* scratch) {
  return HWY_DYNAMIC_DISPATCH(Fp32Panels)(matrix, first, count, scratch);
}
void product_bias(const Product& product, const float* bias, float* c, size_t ldc) {
  HWY_DYNAMIC_DISPATCH(ProductBias)(product, bias, c, ldc);
}
void product_bias_gelu(const Product& product, const float* bias, float* c, size_t ldc) {
  HWY_DYNAMIC_DISPATCH(ProductBiasGelu)(product, bias, c, ldc);
}
void product_bias_keys(const Product& product, const float* bias, const KeyTarget& to) {
  HWY_DYNAMIC_DISPATCH(ProductBiasKeys)(product, bias, to);
}
void product_grid(const Product& product, double* acc, bool first) {
  HWY_DYNAMIC_DISPATCH(ProductGrid)(product, acc, first);
}
void attend(const Attention& attention) { HWY_DYNAMIC_DISPATCH(Attend)(attention); }
void finish(const Finish& f) { HWY_DYNAMIC_DISPATCH(FinishRows)(f); }
void layer_norm(float* x, int rows, const Norm& norm) { HWY_DYNAMIC_DISPATCH(LayerNormRows)(x, rows, norm); }
void load_elements(ElementType type, const std::byte* from, int count, bool add, float* to) {
  HWY_DYNAMIC_DISPATCH(LoadElements)(type, from, count, add, to);
}
float dot_elements(ElementType type, const std::byte* weights, const float* x, int count) {
  return HWY_DYNAMIC_DISPATCH(DotElements)(type, weights, x, count);
}
const char* target_name() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }
int target_lanes() { return HWY_DYNAMIC_DISPATCH(TargetLanes)(); }

}  // namespace tessera::cpu
#endif  // HWY_ONCE
