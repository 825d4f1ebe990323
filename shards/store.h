// Reads a sharded model: a checksummed index and data files of aligned extents (docs/store.md).
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "framework/model_shape.h"
#include "framework/operands.h"
#include "framework/result.h"

namespace tessera {

// One aligned piece of a data file. Offset and length are multiples of 4096; bytes beyond `payload` are zero and covered by
// the checksum (XXH3, 64 bits, of all `length` bytes).
struct Extent {
  int fd = -1;
  int64_t offset = 0;
  int64_t length = 0;
  int64_t payload = 0;
  uint64_t checksum = 0;
  std::string_view file;  // path; lives as long as the store
};

// A word or position row: which block to read and where the row starts inside it.
struct RowLocation {
  Extent block;
  int64_t offset = 0;  // of the row's D elements in the block
};

struct StoreOptions {
  bool cold = false;  // O_DIRECT reads: the page cache is bypassed
};

// How many bytes each kind of thing takes, for `tessera shard`.
struct StoreSizes {
  struct PerBits {
    Bits bits = 0;
    int64_t indices = 0, dictionaries = 0, outliers = 0, outlier_count = 0, padding = 0;
  };
  std::vector<PerBits> shards;  // exact: all in `indices`
  int64_t rows = 0, exits = 0, resident = 0, index = 0, tokenizer = 0;
};

// Immutable once open; every const member is safe from any thread. Holds file descriptors, the index and the residents
// (norms, biases, token types: fp32, shape().resident_bytes). Nothing is mapped.
class Store {
 public:
  // kData names the file, the offset range and what was expected.
  static Result<std::unique_ptr<Store>> open(const std::string& directory, const StoreOptions& options = {});
  virtual ~Store() = default;

  virtual const std::string& directory() const = 0;
  virtual const ModelShape& shape() const = 0;
  virtual ElementType exact_type() const = 0;
  virtual const std::string& codec() const = 0;         // "flat"
  virtual const std::string& content_hash() const = 0;  // 32 hex digits over everything but profiles
  virtual const StoreSizes& sizes() const = 0;
  // Whether reads bypass the page cache: asked for with `cold` and granted by the file system.
  virtual bool direct() const = 0;

  virtual Extent shard(ShardId id, Bits bits) const = 0;  // the store must have this version
  virtual Extent exit(int depth) const = 0;
  virtual RowLocation word_row(int token) const = 0;
  virtual RowLocation position_row(int position) const = 0;
  // Views of one exit head inside its extent's bytes.
  virtual ExitRefs exit_refs(const std::byte* extent) const = 0;

  virtual const LayerResidents& layer_residents(int layer) const = 0;
  virtual const float* token_type(int type) const = 0;     // [D]
  virtual const float* embedding_norm_weight() const = 0;  // [D]
  virtual const float* embedding_norm_bias() const = 0;    // [D]
  virtual const std::string& tokenizer_path() const = 0;   // the compiled tokenizer file of the store

  // Reads one extent with pread and checks it: for tools and tests; requests read through a storage backend.
  virtual Status read(const Extent& extent, std::byte* to) const = 0;
};

struct ShardOptions {
  std::vector<Bits> bitwidths = {2, 3, 4, 5, 6, kExact};
  bool force = false;                         // replace an existing store
  std::string name;                           // default: the folder's
  const std::atomic<bool>* cancel = nullptr;  // kCancelled, nothing left behind
  void (*progress)(int done, int total) = nullptr;
};

// Imports a Hugging Face BERT sequence classifier (config.json, *.safetensors, vocab.txt [+ tokenizer.json]) into a store:
// written under a temporary name beside it, synced, renamed.
Result<StoreSizes> make_store(const std::string& hf_directory, const std::string& store_directory,
                              const ShardOptions& options);

struct VerifyReport {
  int64_t files = 0, extents = 0, bytes = 0;
  std::vector<Error> damages;  // every one found: flipped, truncated, foreign
};
// Reads and checks every byte of every file of the store, and that there is no file that does not belong.
Result<VerifyReport> verify_store(const std::string& directory);

}  // namespace tessera
