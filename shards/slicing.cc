// Copies the rows and columns that belong to one slice.
#include "shards/slicing.h"

namespace tessera {
namespace {

std::vector<float> rows(const std::vector<float>& matrix, int in, int from, int count) {
  const auto begin = matrix.begin() + static_cast<ptrdiff_t>(from) * in;
  return {begin, begin + static_cast<ptrdiff_t>(count) * in};
}

std::vector<float> columns(const std::vector<float>& matrix, int out, int in, int from, int count) {
  std::vector<float> cut;
  cut.reserve(static_cast<size_t>(out) * count);
  for (int row = 0; row < out; ++row) {
    const auto begin = matrix.begin() + static_cast<ptrdiff_t>(row) * in + from;
    cut.insert(cut.end(), begin, begin + count);
  }
  return cut;
}

}  // namespace

DenseShard slice_layer(const ModelShape& shape, const DenseLayer& layer, int slice) {
  DenseShard shard;
  for (int i = 0; i < kMatrixCount; ++i) {
    const MatrixDims dims = matrix_dims(shape, static_cast<MatrixKind>(i));
    const bool by_column = i == static_cast<int>(MatrixKind::kOutput) || i == static_cast<int>(MatrixKind::kDown);
    shard[i] = by_column ? columns(layer[i], dims.out, dims.in * shape.slices, slice * dims.in, dims.in)
                         : rows(layer[i], dims.in, slice * dims.out, dims.out);
  }
  return shard;
}

}  // namespace tessera
