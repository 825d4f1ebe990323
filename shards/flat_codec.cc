// Writes and reads coded and exact shards (layout: shard_format.h).
#include "shards/flat_codec.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "shards/codec_elements.h"
#include "shards/flat_dictionary.h"

namespace tessera {
namespace {

void append(std::vector<std::byte>& out, const void* from, size_t bytes) {
  const auto* p = static_cast<const std::byte*>(from);
  out.insert(out.end(), p, p + bytes);
}

int64_t pad_to(std::vector<std::byte>& out, size_t alignment) {
  const size_t before = out.size();
  out.resize((before + alignment - 1) / alignment * alignment, std::byte{0});
  return static_cast<int64_t>(out.size() - before);
}

// Panels of one matrix while they are coded: dense is row-major [out, in].
struct PanelWriter {
  MatrixDims dims;
  std::span<const float> dense;
  const FlatEncoder::Fit& fit;
  int bits;
  std::vector<double> middles = {};  // [2^bits - 1] between neighbouring centroids
  std::vector<uint8_t> indices = {};
  std::vector<uint32_t> starts = {0};
  std::vector<uint32_t> positions = {};
  std::vector<float> outliers = {};

  uint32_t nearest(float w) const {
    return static_cast<uint32_t>(std::lower_bound(middles.begin(), middles.end(), static_cast<double>(w)) - middles.begin());
  }

  void put(size_t group_start, int i, uint32_t index) {
    for (int b = 0; b < bits; ++b) {
      const int bit = i * bits + b;
      if (index >> b & 1) indices[group_start + bit / 8] |= static_cast<uint8_t>(1u << (bit % 8));
    }
  }

  void write_panel(int p) {
    for (int k = 0; k < dims.in; ++k) {
      for (int n = 0; n < kPanel; ++n) {
        const int row = p * kPanel + n;
        if (row >= dims.out) break;
        const float w = dense[static_cast<size_t>(row) * dims.in + k];
        if (w < fit.low || w > fit.high) {  // its index stays 0
          positions.push_back(static_cast<uint32_t>(k) * kPanel + n);
          outliers.push_back(w);
          continue;
        }
        const size_t row_start = (static_cast<size_t>(p) * dims.in + k) * 2 * bits;
        put(row_start + static_cast<size_t>(n / 8) * bits, n % 8, nearest(w));
      }
    }
    starts.push_back(static_cast<uint32_t>(outliers.size()));
  }
};

void append_positions(std::vector<std::byte>& out, const std::vector<uint32_t>& positions, bool wide) {
  if (wide) return append(out, positions.data(), positions.size() * 4);
  const std::vector<uint16_t> narrow(positions.begin(), positions.end());
  append(out, narrow.data(), narrow.size() * 2);
}

void append_matrix(std::vector<std::byte>& out, const PanelWriter& panels, const std::vector<float>& dictionary,
                   ElementType type, CodedSizes& sizes) {
  append(out, dictionary.data(), dictionary.size() * 4);
  append(out, panels.starts.data(), panels.starts.size() * 4);
  append(out, panels.indices.data(), panels.indices.size());
  sizes.padding += pad_to(out, 4);
  const size_t positions_at = out.size();
  append_positions(out, panels.positions, panels.dims.in > 4096);
  const size_t positions_end = out.size();
  sizes.padding += pad_to(out, 4);
  const size_t values = panels.outliers.size();
  const size_t value_bytes = values * element_size(type);
  out.resize(out.size() + value_bytes);
  encode_elements(type, panels.outliers.data(), static_cast<int64_t>(values), out.data() + out.size() - value_bytes);
  sizes.dictionaries += static_cast<int64_t>(dictionary.size() * 4);
  sizes.indices += static_cast<int64_t>(panels.indices.size());
  sizes.outliers += static_cast<int64_t>(panels.starts.size() * 4 + (positions_end - positions_at) + value_bytes);
  sizes.outlier_count += static_cast<int64_t>(values);
}

MatrixDims dims_of(const ModelShape& shape, int i) { return matrix_dims(shape, static_cast<MatrixKind>(i)); }

}  // namespace

FlatEncoder::FlatEncoder(const ModelShape& shape, const DenseShard& dense) : shape_(shape), dense_(dense) {
  for (int i = 0; i < kMatrixCount; ++i) {
    assert(static_cast<int64_t>(dense[i].size()) == dims_of(shape, i).weights());
    fits_[i] = fit_gaussian(dense[i]);
  }
}

std::vector<std::byte> FlatEncoder::encode(Bits bits, ElementType type, CodedSizes* sizes) const {
  assert(bits >= 1 && bits <= 8);
  CodedSizes local;
  std::vector<std::byte> out;
  for (int i = 0; i < kMatrixCount; ++i) {
    local.padding += pad_to(out, kMatrixAlignment);
    const MatrixDims dims = dims_of(shape_, i);
    const std::vector<float> dictionary = fit_dictionary(fits_[i], bits);
    PanelWriter panels{.dims = dims, .dense = dense_[i], .fit = fits_[i], .bits = bits};
    for (size_t c = 1; c < dictionary.size(); ++c) {
      panels.middles.push_back((static_cast<double>(dictionary[c - 1]) + dictionary[c]) / 2);
    }
    panels.indices.resize(static_cast<size_t>(dims.padded_weights() / 8 * bits), 0);
    for (int p = 0; p < dims.panels(); ++p) panels.write_panel(p);
    append_matrix(out, panels, dictionary, type, local);
  }
  if (sizes) *sizes = local;
  return out;
}

std::vector<std::byte> encode_flat(const ModelShape& shape, const DenseShard& dense, Bits bits, ElementType type) {
  return FlatEncoder(shape, dense).encode(bits, type);
}

std::vector<float> to_panels(const ModelShape& shape, const DenseShard& dense) {
  const DenseLayout layout = dense_layout(shape, 4);
  std::vector<float> panels(static_cast<size_t>(layout.bytes / 4), 0.0f);
  for (int i = 0; i < kMatrixCount; ++i) {
    const MatrixDims dims = dims_of(shape, i);
    float* to = panels.data() + layout.offset[i] / 4;
    for (int row = 0; row < dims.out; ++row) {
      for (int k = 0; k < dims.in; ++k) {
        to[(static_cast<size_t>(row / kPanel) * dims.in + k) * kPanel + row % kPanel] =
            dense[i][static_cast<size_t>(row) * dims.in + k];
      }
    }
  }
  return panels;
}

std::vector<std::byte> encode_exact(const ModelShape& shape, const DenseShard& dense, ElementType type) {
  const std::vector<float> panels = to_panels(shape, dense);
  const DenseLayout wide = dense_layout(shape, 4);
  const DenseLayout layout = dense_layout(shape, element_size(type));
  std::vector<std::byte> out(static_cast<size_t>(layout.bytes), std::byte{0});
  for (int i = 0; i < kMatrixCount; ++i) {
    encode_elements(type, panels.data() + wide.offset[i] / 4, dims_of(shape, i).padded_weights(),
                    out.data() + layout.offset[i]);
  }
  return out;
}

void decode_coded_matrix(const CodedMatrix& m, std::span<float> to) {
  const int in = m.dims.in;
  for (int row = 0; row < m.dims.out; ++row) {
    for (int k = 0; k < in; ++k) {
      const uint8_t* group = m.indices + (static_cast<size_t>(row / kPanel) * in + k) * 2 * m.bits +
                             static_cast<size_t>(row % kPanel / 8) * m.bits;
      uint32_t index = 0;
      for (int b = 0; b < m.bits; ++b) {
        const int bit = row % 8 * m.bits + b;
        index |= (group[bit / 8] >> (bit % 8) & 1u) << b;
      }
      to[static_cast<size_t>(row) * in + k] = m.dictionary[index];
    }
  }
  for (int p = 0; p < m.dims.panels(); ++p) {
    for (uint32_t i = m.panel_start[p]; i < m.panel_start[p + 1]; ++i) {
      const uint32_t at =
          m.wide() ? static_cast<const uint32_t*>(m.outlier_at)[i] : static_cast<const uint16_t*>(m.outlier_at)[i];
      const int row = p * kPanel + static_cast<int>(at % kPanel);
      if (row >= m.dims.out) continue;
      decode_elements(m.outlier_type,
                      static_cast<const std::byte*>(m.outliers) + static_cast<size_t>(i) * element_size(m.outlier_type), 1,
                      &to[static_cast<size_t>(row) * in + at / kPanel]);
    }
  }
}

void decode_exact_matrix(MatrixDims dims, ElementType type, const std::byte* panels, std::span<float> to) {
  std::vector<float> wide(static_cast<size_t>(dims.padded_weights()));
  decode_elements(type, panels, dims.padded_weights(), wide.data());
  for (int row = 0; row < dims.out; ++row) {
    for (int k = 0; k < dims.in; ++k) {
      to[static_cast<size_t>(row) * dims.in + k] =
          wide[(static_cast<size_t>(row / kPanel) * dims.in + k) * kPanel + row % kPanel];
    }
  }
}

Result<DenseShard> decode_shard(const ModelShape& shape, Bits bits, ElementType type, const std::byte* data, int64_t size) {
  DenseShard dense;
  for (int i = 0; i < kMatrixCount; ++i) dense[i].resize(static_cast<size_t>(dims_of(shape, i).weights()));
  if (bits != kExact) {
    TESSERA_ASSIGN(const auto matrices, parse_coded_shard(shape, bits, type, data, size));
    for (int i = 0; i < kMatrixCount; ++i) decode_coded_matrix(matrices[i], dense[i]);
    return dense;
  }
  const DenseLayout layout = dense_layout(shape, element_size(type));
  if (size < layout.bytes) {
    return Error{ErrorCode::kData,
                 "exact shard: needs " + std::to_string(layout.bytes) + " bytes, has " + std::to_string(size)};
  }
  for (int i = 0; i < kMatrixCount; ++i) decode_exact_matrix(dims_of(shape, i), type, data + layout.offset[i], dense[i]);
  return dense;
}

}  // namespace tessera
