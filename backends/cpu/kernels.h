// Declares what the SIMD kernels do, one call per thread and work item; the instruction set is chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shards/shard_format.h"

namespace tessera::cpu {

// A matrix of one slice as it lies in memory: panels of 16 output rows (shards/shard_format.h).
struct MatrixView {
  MatrixDims dims;
  bool coded = false;
  ElementType type = ElementType::kF32;  // of `panels`
  const std::byte* panels = nullptr;     // exact or decoded: [P][in][16]
  CodedMatrix code;                      // coded
};

inline constexpr int kTileColumns = 32;    // two panels: what one work item of a product covers
inline constexpr int kMaxTileRows = 16;    // rows that a kernel keeps in registers at most
inline constexpr int kMaxBlockRows = 128;  // rows of a fixed-grid accumulator

// `panels` fp32 panels of 16 columns, k running slowest. Column n of panel p at row k: b[p * stride + k * leading + n].
struct PanelBlock {
  const float* b = nullptr;
  size_t leading = kPanel;
  size_t stride = 0;
  int panels = 0;
  int k = 0;
};

// C [rows, 16 panels] = A [rows, k] * B. Every element is one sum over k in ascending order, whatever the tiling.
struct Product {
  const float* a = nullptr;
  size_t lda = 0;
  int rows = 0;
  PanelBlock b;
};

// Where keys go: transposed into panels of 16 tokens, each sequence starting a new panel.
struct KeyTarget {
  float* panels = nullptr;          // [padded tokens / 16][width][16]
  int width = 0;                    // D/H
  int first_column = 0;             // of the product's column 0 in the head
  const int32_t* starts = nullptr;  // [B + 1], token ranges of the sequences
  int first_row = 0;                // of the product's row 0 in the batch
};

// Attention of `rows` queries to one sequence; the context replaces the queries.
struct Attention {
  float* q = nullptr;  // [rows][padded width]
  int rows = 0;
  const float* keys = nullptr;    // [ceil(tokens / 16)][width][16]
  const float* values = nullptr;  // [tokens][padded width]
  int tokens = 0;
  int width = 0;
  int padded_width = 0;
  float* scores = nullptr;  // scratch [kMaxTileRows][padded tokens]
};

// out = sum over slices + bias + residual, for `columns` of `rows`; acc is [rows][acc_ld].
struct Finish {
  const double* acc = nullptr;
  size_t acc_ld = kTileColumns;
  int rows = 0;
  int columns = 0;
  const float* bias = nullptr;      // [columns]
  const float* residual = nullptr;  // [rows][ld]
  float* out = nullptr;             // [rows][ld]
  size_t ld = 0;
};

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
  int width = 0;
  float eps = 0;
};

// Returns `count` panels from `first` on as fp32: in place where they are, else decoded into `scratch` (64-aligned).
const float* fp32_panels(const MatrixView& matrix, int first, int count, float* scratch);
// c [rows][ldc] = product + bias (16 floats a panel).
void product_bias(const Product& product, const float* bias, float* c, size_t ldc);
void product_bias_gelu(const Product& product, const float* bias, float* c, size_t ldc);
void product_bias_keys(const Product& product, const float* bias, const KeyTarget& to);
// acc [rows][kTileColumns] (= where `first`, else +=) product, each element rounded to the fixed grid of 2^-32.
void product_grid(const Product& product, double* acc, bool first);
void attend(const Attention& attention);
void finish(const Finish& finish);
// Rows of x [rows][width], in place.
void layer_norm(float* x, int rows, const Norm& norm);
// fp32 of `count` stored elements; added to `to` where `add`.
void load_elements(ElementType type, const std::byte* from, int count, bool add, float* to);
// Dot product of stored weights and x, in one fixed order.
float dot_elements(ElementType type, const std::byte* weights, const float* x, int count);

// Of the instruction set in use: its name, fp32 lanes.
const char* target_name();
int target_lanes();

}  // namespace tessera::cpu
