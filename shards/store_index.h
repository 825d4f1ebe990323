// The index of a store: what the model is, and the size and checksum of every extent (byte layout: docs/store.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/model_shape.h"
#include "framework/operands.h"
#include "framework/result.h"
#include "shards/store.h"

namespace tessera {

inline constexpr uint32_t kStoreVersion = 1;
inline constexpr int64_t kMaxIndexBytes = int64_t{256} << 20;
inline constexpr const char* kStoreFiles[] = {"index", "exits", "rows", "resident", "tokenizer"};  // beside shards.*

// Offsets are not stored: an extent starts where the one before ends. Length = payload rounded up to 4096.
struct ExtentRecord {
  int64_t payload = 0;
  uint64_t checksum = 0;
};

// How embedding rows are packed: whole rows in blocks, word rows first, position rows from a block of their own.
struct RowPacking {
  int64_t row_bytes = 0;
  int64_t block_bytes = 0;
  int64_t rows_per_block = 0;
  int64_t word_blocks = 0;
  int64_t position_blocks = 0;
  int64_t blocks() const { return word_blocks + position_blocks; }
};
RowPacking row_packing(const ModelShape& shape, ElementType type);

// Where each resident vector lies, in floats from the file's start; every vector starts at a multiple of 16 floats (64
// bytes). Order: token types [types, D], embedding norm weight [D] and bias [D]; then for each layer Q, K, V and attention
// bias [D], attention norm weight [D] and bias [D], FFN up bias [F], FFN down bias [D], FFN norm weight [D] and bias [D].
inline constexpr int kResidentsBeforeLayers = 3;
inline constexpr int kResidentsPerLayer = 10;
struct ResidentLayout {
  std::vector<int64_t> offset;
  int64_t floats = 0;
};
ResidentLayout resident_layout(const ModelShape& shape);

// Parts of an exit extent, in bytes: pooler weight, pooler bias, classifier weight, classifier bias; each at a multiple
// of 64.
struct ExitLayout {
  int64_t part[4] = {};
  int64_t bytes = 0;
};
ExitLayout exit_layout(const ModelShape& shape, ElementType type);

struct StoreIndex {
  ModelShape shape;  // with shard_bytes, exit_bytes, row_block and resident_bytes filled by parse_index
  ElementType exact_type = ElementType::kF32;
  std::string codec = "flat";
  std::string content_hash;  // set by both functions below
  StoreSizes sizes;
  std::vector<std::vector<ExtentRecord>> shards;  // [bitwidths][L * M]
  std::vector<ExtentRecord> exits;                // as shape.depths
  ExtentRecord resident;
  ExtentRecord tokenizer;  // not padded
  std::vector<uint64_t> row_checksums;
};

// The index file's bytes. The content hash covers all of them but the model's name.
std::vector<std::byte> serialize_index(StoreIndex& index);
// Checks every number against the others and against the length of `bytes`. `file` is for messages. `trusted` skips the
// checksum over the whole (for the fuzzer, which cannot forge it).
Result<StoreIndex> parse_index(std::span<const std::byte> bytes, const std::string& file, bool trusted = false);

// "shards.4", "shards.exact".
std::string shard_file(Bits bits);
// Length of a shard's extent: its payload, and at least 64 bytes behind a coded one (shard_format.h), rounded up to 4096.
int64_t shard_extent_bytes(Bits bits, int64_t payload);

}  // namespace tessera
