// Defines how one shard's weights lie in memory, coded, exact or decoded: what backends decode and codecs write.
//
//   shard   = 6 matrices in the order Q, K, V, O, Up, Down, each starting at a multiple of 64 bytes
//   matrix  = [out, in] cut into P = ceil(out / 16) panels of 16 output rows; in a panel, element (k, n) is weight
//             [16 p + n, k], k (the input) running slowest, so a panel is `in` rows of 16 weights. Rows n >= out are
//             padding.
//   coded   = dictionary  f32  [2^bits]
//             panel_start u32  [P + 1]        outliers before each panel
//             indices     P * in rows of 16 indices: 2 * bits bytes a row, two groups of 8 indices of `bits` bytes each,
//                         index i of a group in bits [i * bits, (i + 1) * bits) of the group, little-endian
//             (zero bytes to a multiple of 4)
//             outlier_at  u16  [outliers]     k * 16 + n within its panel, ascending (u32 where in > 4096)
//             (zero bytes to a multiple of 4)
//             outliers    stored element type [outliers]
//   exact   = P * in * 16 elements of the stored type (padding rows zero)
//   decoded = P * in * 16 f32
// A buffer that holds a coded shard has at least 64 readable bytes behind it (extents are padded to 4096, or the holder adds
// them), so that a decoder may read whole words past the last index.
#pragma once

#include <array>
#include <cstdint>

#include "framework/operands.h"
#include "framework/result.h"

namespace tessera {

enum class MatrixKind : uint8_t { kQuery, kKey, kValue, kOutput, kUp, kDown };
inline constexpr int kMatrixCount = 6;
inline constexpr int kPanel = 16;
inline constexpr int64_t kMatrixAlignment = 64;

struct MatrixDims {
  int out = 0;
  int in = 0;
  int panels() const { return (out + kPanel - 1) / kPanel; }
  int64_t padded_weights() const { return static_cast<int64_t>(panels()) * in * kPanel; }
  int64_t weights() const { return static_cast<int64_t>(out) * in; }
};

// Q, K, V: [D/H, D]; O: [D, D/H]; Up: [F/M, D]; Down: [D, F/M].
MatrixDims matrix_dims(const ModelShape& shape, MatrixKind kind);

// Views of one coded matrix. Pointers go into the shard; nothing is copied.
struct CodedMatrix {
  MatrixDims dims;
  Bits bits = 0;
  ElementType outlier_type = ElementType::kF32;
  const float* dictionary = nullptr;      // [2^bits]
  const uint32_t* panel_start = nullptr;  // [panels + 1]
  const uint8_t* indices = nullptr;       // panel p, row k at (p * in + k) * 2 * bits
  const void* outlier_at = nullptr;       // u16 or u32
  const void* outliers = nullptr;
  bool wide() const { return dims.in > 4096; }
  uint32_t outlier_count() const { return panel_start[dims.panels()]; }
  int64_t bytes = 0;  // of the matrix, alignment to the next excluded
};

// Finds the matrices of a coded shard at `data` (64-aligned, `size` bytes). Checks that every part lies inside; kData names
// what does not. The content is trusted after that (its checksum was checked), except that outlier positions are checked
// too.
Result<std::array<CodedMatrix, kMatrixCount>> parse_coded_shard(const ModelShape& shape, Bits bits, ElementType type,
                                                                const std::byte* data, int64_t size);

// Byte offsets of the matrices in an exact (element = stored type) or decoded (f32) shard, and its whole size.
struct DenseLayout {
  std::array<int64_t, kMatrixCount> offset{};
  int64_t bytes = 0;
};
DenseLayout dense_layout(const ModelShape& shape, int element_bytes);

}  // namespace tessera
