// Codes a shard with one Gaussian dictionary per matrix, outliers kept exact (GOBO, Zadeh et al., MICRO 2020, section 4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shards/shard_format.h"

namespace tessera {

// One slice's dense weights, fp32, row-major [out, in] as in the checkpoint, in the order of MatrixKind.
using DenseShard = std::array<std::vector<float>, kMatrixCount>;

// Where a coded shard's bytes go. The five byte counts sum to the shard's size.
struct CodedSizes {
  int64_t indices = 0;       // padding rows included
  int64_t dictionaries = 0;  // 6 * 4 * 2^bits
  int64_t outliers = 0;      // values, positions and panel starts
  int64_t padding = 0;       // alignment inside and between matrices
  int64_t outlier_count = 0;
};

// Fits a dense shard once, then codes it at any bitwidth. Sequential and scalar: the same weights give the same bytes on
// every machine. Holds its own sorted copy of the weights; const members are safe from any thread.
class FlatEncoder {
 public:
  FlatEncoder(const ModelShape& shape, const DenseShard& dense);
  // The coded shard (no trailing padding). bits in 1..8; `type` is the stored type of outliers.
  std::vector<std::byte> encode(Bits bits, ElementType type, CodedSizes* sizes = nullptr) const;

  // A matrix's fit: weights inside [low, high] are coded, the others are outliers.
  struct Fit {
    float low = 0, high = 0;
    std::vector<float> sorted;   // the weights inside, ascending
    std::vector<double> prefix;  // prefix[i] = sum of the first i of them
  };

 private:
  const ModelShape& shape_;
  const DenseShard& dense_;
  std::array<Fit, kMatrixCount> fits_;
};

// One shot, for tests.
std::vector<std::byte> encode_flat(const ModelShape& shape, const DenseShard& dense, Bits bits, ElementType type);
// The exact form: panels of stored elements (dense_layout), padding rows zero.
std::vector<std::byte> encode_exact(const ModelShape& shape, const DenseShard& dense, ElementType type);

// Plain reference decoders: row-major [out, in] again. `to` holds dims.weights() floats.
void decode_coded_matrix(const CodedMatrix& matrix, std::span<float> to);
void decode_exact_matrix(MatrixDims dims, ElementType type, const std::byte* panels, std::span<float> to);
// A whole coded (1..8) or exact (kExact) shard.
Result<DenseShard> decode_shard(const ModelShape& shape, Bits bits, ElementType type, const std::byte* data, int64_t size);
// The decoded form (fp32 panels of dense_layout(shape, 4), padding rows zero) of dense weights.
std::vector<float> to_panels(const ModelShape& shape, const DenseShard& dense);

}  // namespace tessera
