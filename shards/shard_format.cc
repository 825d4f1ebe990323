// Finds the parts of a shard in memory and refuses what does not fit.
#include "shards/shard_format.h"

#include <string>

namespace tessera {
namespace {

constexpr const char* kMatrixNames[kMatrixCount] = {"Q", "K", "V", "O", "Up", "Down"};

int64_t align(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

Error misfit(int matrix, const std::string& what) {
  return {ErrorCode::kData, std::string("coded shard: matrix ") + kMatrixNames[matrix] + ": " + what +
                                "; `tessera verify` names the damaged file"};
}

// Ascending positions inside each panel, so that a decoder may write through them unchecked.
template <typename Position>
bool positions_fit(const CodedMatrix& m) {
  const auto* at = static_cast<const Position*>(m.outlier_at);
  const int64_t panel_weights = static_cast<int64_t>(m.dims.in) * kPanel;
  for (int p = 0; p < m.dims.panels(); ++p) {
    int64_t last = -1;
    for (uint32_t i = m.panel_start[p]; i < m.panel_start[p + 1]; ++i) {
      if (at[i] <= last || at[i] >= panel_weights) return false;
      last = at[i];
    }
  }
  return true;
}

// `room`: bytes from `data` to the end of the shard.
Result<CodedMatrix> parse_matrix(int which, MatrixDims dims, Bits bits, ElementType type, const std::byte* data,
                                 int64_t room) {
  CodedMatrix m{.dims = dims, .bits = bits, .outlier_type = type};
  const int64_t dictionary = int64_t{4} << bits;
  const int64_t starts = 4 * (static_cast<int64_t>(dims.panels()) + 1);
  const int64_t indices = dims.padded_weights() / 8 * bits;
  const int64_t positions_at = align(dictionary + starts + indices, 4);
  if (positions_at > room) {
    return misfit(which, "needs " + std::to_string(positions_at) + " bytes, " + std::to_string(room) + " are left");
  }
  m.dictionary = reinterpret_cast<const float*>(data);
  m.panel_start = reinterpret_cast<const uint32_t*>(data + dictionary);
  m.indices = reinterpret_cast<const uint8_t*>(data + dictionary + starts);
  if (m.panel_start[0] != 0) return misfit(which, "the first panel's outliers start at " + std::to_string(m.panel_start[0]));
  for (int p = 0; p < dims.panels(); ++p) {
    if (m.panel_start[p + 1] < m.panel_start[p])
      return misfit(which, "outliers of panel " + std::to_string(p) + " end early");
  }
  const int64_t count = m.outlier_count();
  const int64_t outliers_at = align(positions_at + count * (m.wide() ? 4 : 2), 4);
  m.bytes = outliers_at + count * element_size(type);
  if (m.bytes > room) {
    return misfit(which, std::to_string(count) + " outliers need " + std::to_string(m.bytes) + " bytes, " +
                             std::to_string(room) + " are left");
  }
  m.outlier_at = data + positions_at;
  m.outliers = data + outliers_at;
  const bool fit = m.wide() ? positions_fit<uint32_t>(m) : positions_fit<uint16_t>(m);
  if (!fit) return misfit(which, "an outlier lies outside its panel or out of order");
  return m;
}

}  // namespace

MatrixDims matrix_dims(const ModelShape& shape, MatrixKind kind) {
  const int head = shape.hidden / shape.heads;
  const int share = shape.ffn / shape.slices;
  switch (kind) {
    case MatrixKind::kQuery:
    case MatrixKind::kKey:
    case MatrixKind::kValue:
      return {head, shape.hidden};
    case MatrixKind::kOutput:
      return {shape.hidden, head};
    case MatrixKind::kUp:
      return {share, shape.hidden};
    case MatrixKind::kDown:
      return {shape.hidden, share};
  }
  return {};
}

Result<std::array<CodedMatrix, kMatrixCount>> parse_coded_shard(const ModelShape& shape, Bits bits, ElementType type,
                                                                const std::byte* data, int64_t size) {
  if (bits < 1 || bits > 8) {
    return Error{ErrorCode::kInternal, "coded shard: " + std::to_string(bits) + " bits; a coded shard has 1 to 8"};
  }
  std::array<CodedMatrix, kMatrixCount> matrices;
  int64_t at = 0;
  for (int i = 0; i < kMatrixCount; ++i) {
    const int64_t room = size > at ? size - at : 0;
    TESSERA_ASSIGN(matrices[i],
                   parse_matrix(i, matrix_dims(shape, static_cast<MatrixKind>(i)), bits, type, data + at, room));
    at = align(at + matrices[i].bytes, kMatrixAlignment);
  }
  return matrices;
}

DenseLayout dense_layout(const ModelShape& shape, int element_bytes) {
  DenseLayout layout;
  for (int i = 0; i < kMatrixCount; ++i) {
    layout.offset[i] = align(layout.bytes, kMatrixAlignment);
    layout.bytes = layout.offset[i] + matrix_dims(shape, static_cast<MatrixKind>(i)).padded_weights() * element_bytes;
  }
  return layout;
}

}  // namespace tessera
