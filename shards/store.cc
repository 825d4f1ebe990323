// Opens a store: one read of the index, one of the residents; shards, rows and exits stay on storage.
#include "shards/store.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>

#include "shards/hash.h"
#include "shards/store_index.h"
#include "shards/store_io.h"

namespace tessera {
namespace {

// LayerResidents::id: never given twice in a process.
uint64_t next_content_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

class OpenStore final : public Store {
 public:
  static Result<std::unique_ptr<Store>> open(const std::string& directory, const StoreOptions& options);

  const std::string& directory() const override { return directory_; }
  const ModelShape& shape() const override { return index_.shape; }
  ElementType exact_type() const override { return index_.exact_type; }
  const std::string& codec() const override { return index_.codec; }
  const std::string& content_hash() const override { return index_.content_hash; }
  const StoreSizes& sizes() const override { return index_.sizes; }
  bool direct() const override { return direct_; }
  Extent shard(ShardId id, Bits bits) const override;
  Extent exit(int depth) const override;
  RowLocation word_row(int token) const override { return row(token, index_.shape.vocab, 0); }
  RowLocation position_row(int position) const override { return row(position, index_.shape.max_tokens, rows_.word_blocks); }
  ExitRefs exit_refs(const std::byte* extent) const override;
  const LayerResidents& layer_residents(int layer) const override { return layers_[static_cast<size_t>(layer)]; }
  const float* token_type(int type) const override { return resident(0) + static_cast<size_t>(type) * index_.shape.hidden; }
  const float* embedding_norm_weight() const override { return resident(1); }
  const float* embedding_norm_bias() const override { return resident(2); }
  const std::string& tokenizer_path() const override { return tokenizer_path_; }
  Status read(const Extent& extent, std::byte* to) const override;

 private:
  // A data file and where its extents start.
  struct DataFile {
    std::string path;
    OwnedFd fd;
    std::vector<int64_t> starts;  // one more than extents: the last is the file's length
  };
  Result<DataFile> open_data(const std::string& name, const std::vector<int64_t>& lengths, bool cold);
  Status open_files(bool cold);
  Status load_residents(bool cold);
  Extent extent(const DataFile& file, size_t i, const ExtentRecord& record) const;
  RowLocation row(int at, int rows, int64_t first_block) const;
  const float* resident(size_t i) const {
    return reinterpret_cast<const float*>(residents_.get()) + resident_layout_.offset[i];
  }

  std::string directory_, tokenizer_path_;
  StoreIndex index_;
  RowPacking rows_;
  ExitLayout exit_layout_;
  ResidentLayout resident_layout_;
  std::vector<DataFile> shards_;  // as index_.shape.bitwidths
  DataFile exits_, row_file_;
  BlockBuffer residents_;
  std::vector<LayerResidents> layers_;
  bool direct_ = false;
};

Result<std::unique_ptr<Store>> OpenStore::open(const std::string& directory, const StoreOptions& options) {
  auto store = std::make_unique<OpenStore>();
  store->directory_ = directory;
  store->tokenizer_path_ = directory + "/tokenizer";
  store->direct_ = options.cold;
  const std::string index_path = directory + "/index";
  TESSERA_ASSIGN(const auto bytes, read_file(index_path, kMaxIndexBytes));
  TESSERA_ASSIGN(store->index_, parse_index(bytes, index_path));
  const StoreIndex& index = store->index_;
  store->rows_ = row_packing(index.shape, index.exact_type);
  store->exit_layout_ = exit_layout(index.shape, index.exact_type);
  store->resident_layout_ = resident_layout(index.shape);
  TESSERA_TRY(store->open_files(options.cold));
  TESSERA_TRY(store->load_residents(options.cold));
  return std::unique_ptr<Store>(std::move(store));
}

Result<OpenStore::DataFile> OpenStore::open_data(const std::string& name, const std::vector<int64_t>& lengths, bool cold) {
  DataFile file{directory_ + "/" + name, OwnedFd(), {0}};
  for (int64_t length : lengths) file.starts.push_back(file.starts.back() + length);
  TESSERA_ASSIGN(OpenedFile opened, open_regular(file.path, cold));
  if (opened.bytes != file.starts.back()) {
    return Error{ErrorCode::kData, file.path + ": has " + std::to_string(opened.bytes) + " bytes, the index makes it " +
                                       std::to_string(file.starts.back()) +
                                       "; make the store again with `tessera shard --force`"};
  }
  direct_ = direct_ && opened.direct;
  file.fd = std::move(opened.fd);
  return file;
}

Status OpenStore::open_files(bool cold) {
  for (size_t b = 0; b < index_.shape.bitwidths.size(); ++b) {
    const Bits bits = index_.shape.bitwidths[b];
    std::vector<int64_t> lengths;
    for (const ExtentRecord& r : index_.shards[b]) lengths.push_back(shard_extent_bytes(bits, r.payload));
    TESSERA_ASSIGN(shards_.emplace_back(), open_data(shard_file(bits), lengths, cold));
  }
  std::vector<int64_t> lengths;
  for (const ExtentRecord& r : index_.exits) lengths.push_back(align_block(r.payload));
  TESSERA_ASSIGN(exits_, open_data("exits", lengths, cold));
  TESSERA_ASSIGN(row_file_, open_data("rows", {rows_.blocks() * rows_.block_bytes}, cold));
  return {};
}

Status OpenStore::load_residents(bool cold) {
  const int64_t bytes = index_.shape.resident_bytes.n;
  TESSERA_ASSIGN(const DataFile file, open_data("resident", {bytes}, cold));
  residents_ = allocate_blocks(bytes);
  if (!residents_) return Error{ErrorCode::kInfeasible, file.path + ": no memory for " + to_string(Bytes{bytes})};
  TESSERA_TRY(read(extent(file, 0, index_.resident), residents_.get()));
  for (int l = 0; l < index_.shape.layers; ++l) {
    const size_t at = kResidentsBeforeLayers + static_cast<size_t>(l) * kResidentsPerLayer;
    layers_.push_back({next_content_id(), resident(at), resident(at + 1), resident(at + 2), resident(at + 3),
                       resident(at + 4), resident(at + 5), resident(at + 6), resident(at + 7), resident(at + 8),
                       resident(at + 9)});
  }
  return {};
}

Extent OpenStore::extent(const DataFile& file, size_t i, const ExtentRecord& record) const {
  return {file.fd.get(), file.starts[i], file.starts[i + 1] - file.starts[i], record.payload, record.checksum, file.path};
}

Extent OpenStore::shard(ShardId id, Bits bits) const {
  const auto& all = index_.shape.bitwidths;
  const auto found = std::find(all.begin(), all.end(), bits);
  const bool here = id.layer >= 0 && id.layer < index_.shape.layers && id.slice >= 0 && id.slice < index_.shape.slices;
  assert(found != all.end() && here);
  if (found == all.end() || !here) return {};
  const auto b = static_cast<size_t>(found - all.begin());
  const size_t i = static_cast<size_t>(id.layer) * index_.shape.slices + id.slice;
  return extent(shards_[b], i, index_.shards[b][i]);
}

Extent OpenStore::exit(int depth) const {
  const auto& all = index_.shape.depths;
  const auto found = std::find(all.begin(), all.end(), depth);
  assert(found != all.end());
  if (found == all.end()) return {};
  const auto i = static_cast<size_t>(found - all.begin());
  return extent(exits_, i, index_.exits[i]);
}

RowLocation OpenStore::row(int at, int rows, int64_t first_block) const {
  assert(at >= 0 && at < rows);
  if (at < 0 || at >= rows) return {};
  const int64_t block = first_block + at / rows_.rows_per_block;
  const Extent where{row_file_.fd.get(),
                     block * rows_.block_bytes,
                     rows_.block_bytes,
                     rows_.rows_per_block * rows_.row_bytes,
                     index_.row_checksums[static_cast<size_t>(block)],
                     row_file_.path};
  return {where, at % rows_.rows_per_block * rows_.row_bytes};
}

ExitRefs OpenStore::exit_refs(const std::byte* extent) const {
  return {index_.exact_type, extent + exit_layout_.part[0], extent + exit_layout_.part[1], extent + exit_layout_.part[2],
          extent + exit_layout_.part[3]};
}

Status OpenStore::read(const Extent& extent, std::byte* to) const {
  const std::string path(extent.file);
  BlockBuffer aligned;  // O_DIRECT refuses other memory
  std::byte* into = to;
  if (direct_ && reinterpret_cast<uintptr_t>(to) % kBlock != 0) {
    aligned = allocate_blocks(extent.length);
    if (!aligned) return Error{ErrorCode::kInfeasible, path + ": no memory for " + to_string(Bytes{extent.length})};
    into = aligned.get();
  }
  TESSERA_TRY(read_fully(extent.fd, path, extent.offset, into, extent.length));
  if (checksum64({into, static_cast<size_t>(extent.length)}) != extent.checksum) {
    return Error{ErrorCode::kData, path + ": bytes " + std::to_string(extent.offset) + " to " +
                                       std::to_string(extent.offset + extent.length) +
                                       " do not match their checksum; make the store again with `tessera shard --force`"};
  }
  if (into != to) std::memcpy(to, into, static_cast<size_t>(extent.length));
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const std::string& directory, const StoreOptions& options) {
  return OpenStore::open(directory, options);
}

}  // namespace tessera
