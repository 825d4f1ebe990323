// Computes where rows, residents and exit heads lie in their files.
#include "shards/store_index.h"
#include "shards/store_io.h"

namespace tessera {
namespace {
int64_t align64(int64_t n) { return (n + 63) / 64 * 64; }
}  // namespace

RowPacking row_packing(const ModelShape& shape, ElementType type) {
  RowPacking packing;
  packing.row_bytes = static_cast<int64_t>(shape.hidden) * element_size(type);
  packing.block_bytes = align_block(packing.row_bytes);
  packing.rows_per_block = packing.block_bytes / packing.row_bytes;
  packing.word_blocks = (shape.vocab + packing.rows_per_block - 1) / packing.rows_per_block;
  packing.position_blocks = (shape.max_tokens + packing.rows_per_block - 1) / packing.rows_per_block;
  return packing;
}

ResidentLayout resident_layout(const ModelShape& shape) {
  ResidentLayout layout;
  const auto add = [&layout](int64_t floats) {
    layout.offset.push_back(layout.floats);
    layout.floats = align64((layout.floats + floats) * 4) / 4;
  };
  const int64_t d = shape.hidden;
  add(d * shape.token_types);
  add(d);
  add(d);
  for (int l = 0; l < shape.layers; ++l) {
    for (int i = 0; i < kResidentsPerLayer; ++i) add(i == 6 ? shape.ffn : d);
  }
  return layout;
}

ExitLayout exit_layout(const ModelShape& shape, ElementType type) {
  const int64_t d = shape.hidden;
  const int64_t parts[4] = {d * d, d, d * shape.labels, shape.labels};
  ExitLayout layout;
  for (int i = 0; i < 4; ++i) {
    layout.part[i] = align64(layout.bytes);
    layout.bytes = layout.part[i] + parts[i] * element_size(type);
  }
  return layout;
}

std::string shard_file(Bits bits) { return bits == kExact ? "shards.exact" : "shards." + std::to_string(bits); }

int64_t shard_extent_bytes(Bits bits, int64_t payload) { return align_block(payload + (bits == kExact ? 0 : 64)); }

}  // namespace tessera
