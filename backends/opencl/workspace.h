// Lays out the working memory of a task: what estimate() announces is what submit uses and demands.
#pragma once

#include <cstdint>

#include "framework/operands.h"

namespace tessera::opencl {

// What the kernels read of a slice, and where `locate` puts what it finds (kernels/prelude.cl: Slice, Matrix).
struct SliceEntry {
  uint64_t offset = 0, bytes = 0;
  uint32_t slot = 0, bits = 0, type = 0, slice = 0;
};
static_assert(sizeof(SliceEntry) == 32);
inline constexpr int64_t kMatrixEntryBytes = 64;
// Some queries of one sequence (kernels/rows.cl: attend).
struct QueryBlock {
  int32_t start = 0, length = 0, row = 0, unused = 0;
};

struct WorkSize {
  int64_t batch = 1, tokens = 1;  // B; of all sequences together
  int slices = 0;
};
WorkSize work_size(const CostKey& key);
WorkSize work_size(const Operands& operands);

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// A layer's residents packed as f32: the biases of Q, K, V, attention's, its norm's weight and bias [D each], Up's [F],
// Down's, the FFN norm's weight and bias [D each].
struct PackedResidents {
  int64_t attention_bias, up_bias, ffn_bias, floats;  // where they start, in floats
};
PackedResidents packed_residents(const ModelShape& shape);

// Byte offsets, 64-aligned. Not every op has every region.
struct Workspace {
  int64_t refused = 0;              // int: 1 + place of a slice that does not fit; this and the next two are one upload
  int64_t slices = 0, blocks = 0;   // SliceEntry [slices], QueryBlock [at most tokens]
  int64_t tables = 0;               // where the upload ends
  int64_t matrices = 0;             // Matrix [slices][6]
  int64_t residents = 0;            // PackedResidents, where the device keeps no copy
  int64_t transposed = 0;           // f32: Q, K [slices][2][head][row_stride]
  int64_t values = 0, context = 0;  // f32 [slices][tokens][padded head]
  int64_t hidden = 0;               // f32 [slices][tokens][padded share], in the place of the four before
  int64_t sums = 0, attended = 0;   // i64, f32 [tokens][D]
  int64_t words = 0, positions = 0, types = 0, norm = 0;  // embed: [tokens][D] each, then [2][D]
  int64_t starts = 0, pooler = 0, pooler_bias = 0, classifier = 0, classifier_bias = 0, pooled = 0;  // exit
  int64_t row_stride = 0;  // tokens and 16 more: attend reads whole groups of 16 keys
  int64_t bytes = 0;
};
// `element_bytes`: of stored rows and heads.
Workspace lay_out(const ModelShape& shape, Op op, const WorkSize& size, int element_bytes);

}  // namespace tessera::opencl
