// Makes a store from a checkpoint: layer by layer, so that memory holds one layer however deep the model is.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include <tbb/parallel_for.h>

#include "shards/codec_elements.h"
#include "shards/import_bert.h"
#include "shards/store.h"
#include "shards/store_commit.h"
#include "shards/store_index.h"
#include "shards/tokenizer.h"

namespace tessera {
namespace {

Status check_bitwidths(const std::vector<Bits>& bitwidths) {
  if (bitwidths.empty()) return Error{ErrorCode::kInvalid, "no bitwidths to store; give some of 1 to 8 and 32"};
  for (size_t i = 0; i < bitwidths.size(); ++i) {
    const std::string bits = std::to_string(bitwidths[i]);
    if (!valid_bits(bitwidths[i]))
      return Error{ErrorCode::kInvalid, "bitwidth " + bits + ": a store holds 1 to 8 and 32 (exact)"};
    if (i > 0 && bitwidths[i] == bitwidths[i - 1]) return Error{ErrorCode::kInvalid, "bitwidth " + bits + " is given twice"};
    if (i > 0 && bitwidths[i] < bitwidths[i - 1]) {
      return Error{ErrorCode::kInvalid, "bitwidth " + bits + " comes after " + std::to_string(bitwidths[i - 1]) +
                                            "; give bitwidths in ascending order"};
    }
  }
  return {};
}

// Calls f(0) to f(n - 1) on all cores; in turn where ThreadSanitizer cannot see into oneTBB (cmake/dependencies.cmake).
template <typename F>
void for_all(int n, const F& f) {
#ifdef TESSERA_SERIAL_LOOPS
  for (int i = 0; i < n; ++i) f(i);
#else
  tbb::parallel_for(0, n, f);
#endif
}

// One shard at every bitwidth of the store, before it is written.
struct CodedVersions {
  std::vector<std::vector<std::byte>> bytes;  // as bitwidths
  std::vector<CodedSizes> sizes;
};

class StoreMaker {
 public:
  StoreMaker(const BertCheckpoint& checkpoint, const ShardOptions& options, const std::string& directory)
      : checkpoint_(checkpoint), options_(options), directory_(directory) {
    index_.shape = checkpoint.shape();
    index_.exact_type = checkpoint.exact_type();
    index_.shape.bitwidths = options.bitwidths;
    index_.shape.stored_exact_bits = 8 * element_size(index_.exact_type);
  }
  Result<StoreSizes> make(const std::string& name, const std::vector<std::byte>& tokenizer);

 private:
  Status write_shards();
  Status write_layer(int l, std::vector<ExtentWriter>& files);
  CodedVersions code(const DenseShard& dense) const;
  Status write_exits();
  Status write_rows();
  Status write_row_blocks(ExtentWriter& file, int rows, bool words);
  Status write_residents();
  Status write_plain(const std::string& name, std::span<const std::byte> bytes, int64_t length, ExtentRecord* record);
  Status check_cancelled() const {
    if (!options_.cancel || !options_.cancel->load()) return {};
    return Error{ErrorCode::kCancelled, "interrupted; no store was made"};
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  const BertCheckpoint& checkpoint_;
  const ShardOptions& options_;
  const std::string& directory_;
  StoreIndex index_;
};

Result<StoreSizes> StoreMaker::make(const std::string& name, const std::vector<std::byte>& tokenizer) {
  index_.shape.name = name;
  TESSERA_TRY(write_shards());
  TESSERA_TRY(write_exits());
  TESSERA_TRY(write_rows());
  TESSERA_TRY(write_residents());
  TESSERA_TRY(write_plain("tokenizer", tokenizer, static_cast<int64_t>(tokenizer.size()), &index_.tokenizer));
  const std::vector<std::byte> index = serialize_index(index_);
  ExtentRecord ignored;
  TESSERA_TRY(write_plain("index", index, static_cast<int64_t>(index.size()), &ignored));
  TESSERA_TRY(check_cancelled());
  return index_.sizes;
}

Status StoreMaker::write_shards() {
  std::vector<ExtentWriter> files;
  for (Bits bits : options_.bitwidths) {
    TESSERA_ASSIGN(ExtentWriter file, ExtentWriter::create(path(shard_file(bits))));
    files.push_back(std::move(file));
    index_.shards.emplace_back();
    index_.sizes.shards.push_back({.bits = bits});
  }
  for (int l = 0; l < index_.shape.layers; ++l) TESSERA_TRY(write_layer(l, files));
  for (ExtentWriter& file : files) TESSERA_TRY(file.finish());
  return {};
}

Status StoreMaker::write_layer(int l, std::vector<ExtentWriter>& files) {
  const int slices = index_.shape.slices;
  TESSERA_TRY(check_cancelled());
  TESSERA_ASSIGN(const DenseLayer layer, checkpoint_.layer(l));
  std::vector<CodedVersions> coded(static_cast<size_t>(slices));
  for_all(slices, [&](int j) {
    if (check_cancelled().ok()) coded[static_cast<size_t>(j)] = code(slice_layer(index_.shape, layer, j));
  });
  TESSERA_TRY(check_cancelled());
  for (size_t b = 0; b < files.size(); ++b) {
    const Bits bits = options_.bitwidths[b];
    StoreSizes::PerBits& total = index_.sizes.shards[b];
    for (const CodedVersions& versions : coded) {
      const int64_t length = shard_extent_bytes(bits, static_cast<int64_t>(versions.bytes[b].size()));
      TESSERA_ASSIGN(const ExtentRecord record, files[b].append(versions.bytes[b], length));
      index_.shards[b].push_back(record);
      const CodedSizes& sizes = versions.sizes[b];
      total.indices += sizes.indices;
      total.dictionaries += sizes.dictionaries;
      total.outliers += sizes.outliers;
      total.outlier_count += sizes.outlier_count;
      total.padding += sizes.padding + length - record.payload;
    }
  }
  if (options_.progress) options_.progress((l + 1) * slices, index_.shape.layers * slices);
  return {};
}

CodedVersions StoreMaker::code(const DenseShard& dense) const {
  CodedVersions versions;
  std::optional<FlatEncoder> encoder;
  for (Bits bits : options_.bitwidths) {
    CodedSizes sizes;
    if (bits == kExact) {
      versions.bytes.push_back(encode_exact(index_.shape, dense, index_.exact_type));
      sizes.indices = index_.shape.shard_weights() * element_size(index_.exact_type);
      sizes.padding = static_cast<int64_t>(versions.bytes.back().size()) - sizes.indices;
    } else {
      if (!encoder) encoder.emplace(index_.shape, dense);
      versions.bytes.push_back(encoder->encode(bits, index_.exact_type, &sizes));
    }
    versions.sizes.push_back(sizes);
  }
  return versions;
}

Status StoreMaker::write_exits() {
  TESSERA_ASSIGN(ExtentWriter file, ExtentWriter::create(path("exits")));
  const ExitLayout layout = exit_layout(index_.shape, index_.exact_type);
  for (int depth : index_.shape.depths) {
    TESSERA_TRY(check_cancelled());
    TESSERA_ASSIGN(const DenseExit exit, checkpoint_.exit(depth));
    std::vector<std::byte> bytes(static_cast<size_t>(layout.bytes), std::byte{0});
    const std::vector<float>* parts[] = {&exit.pooler_weight, &exit.pooler_bias, &exit.classifier_weight,
                                         &exit.classifier_bias};
    for (int i = 0; i < 4; ++i) {
      encode_elements(index_.exact_type, parts[i]->data(), static_cast<int64_t>(parts[i]->size()),
                      bytes.data() + layout.part[i]);
    }
    TESSERA_ASSIGN(const ExtentRecord record, file.append(bytes, align_block(layout.bytes)));
    index_.exits.push_back(record);
  }
  return file.finish();
}

Status StoreMaker::write_rows() {
  TESSERA_ASSIGN(ExtentWriter file, ExtentWriter::create(path("rows")));
  TESSERA_TRY(write_row_blocks(file, index_.shape.vocab, true));
  TESSERA_TRY(write_row_blocks(file, index_.shape.max_tokens, false));
  return file.finish();
}

Status StoreMaker::write_row_blocks(ExtentWriter& file, int rows, bool words) {
  const RowPacking packing = row_packing(index_.shape, index_.exact_type);
  const int at_once = static_cast<int>(packing.rows_per_block) * 256;  // rows read together
  std::vector<std::byte> block;
  for (int from = 0; from < rows; from += at_once) {
    TESSERA_TRY(check_cancelled());
    const int to = std::min(rows, from + at_once);
    TESSERA_ASSIGN(const auto values, words ? checkpoint_.word_rows(from, to) : checkpoint_.position_rows(from, to));
    const float* at = values.data();
    for (int row = from; row < to; row += static_cast<int>(packing.rows_per_block)) {
      const int64_t count = std::min<int64_t>(packing.rows_per_block, to - row);
      block.resize(static_cast<size_t>(count * packing.row_bytes));
      encode_elements(index_.exact_type, at, count * index_.shape.hidden, block.data());
      at += count * index_.shape.hidden;
      TESSERA_ASSIGN(const ExtentRecord record, file.append(block, packing.block_bytes));
      index_.row_checksums.push_back(record.checksum);
    }
  }
  return {};
}

Status StoreMaker::write_residents() {
  TESSERA_ASSIGN(const auto vectors, checkpoint_.residents());
  const ResidentLayout layout = resident_layout(index_.shape);
  std::vector<float> all(static_cast<size_t>(layout.floats), 0.0f);
  for (size_t i = 0; i < vectors.size(); ++i)
    std::copy(vectors[i].begin(), vectors[i].end(), all.begin() + layout.offset[i]);
  return write_plain("resident", std::as_bytes(std::span(all)), align_block(layout.floats * 4), &index_.resident);
}

Status StoreMaker::write_plain(const std::string& name, std::span<const std::byte> bytes, int64_t length,
                               ExtentRecord* record) {
  TESSERA_ASSIGN(ExtentWriter file, ExtentWriter::create(path(name)));
  TESSERA_ASSIGN(*record, file.append(bytes, length));
  return file.finish();
}

std::string default_name(const std::string& directory) {
  std::error_code failed;
  const std::filesystem::path path = std::filesystem::weakly_canonical(directory, failed);
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

}  // namespace

Result<StoreSizes> make_store(const std::string& hf_directory, const std::string& store_directory,
                              const ShardOptions& options) {
  TESSERA_TRY(check_bitwidths(options.bitwidths));
  TESSERA_ASSIGN(const BertCheckpoint checkpoint, BertCheckpoint::open(hf_directory));
  TESSERA_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::from_hf(hf_directory));
  if (tokenizer->vocabulary_size() > checkpoint.shape().vocab) {
    return Error{ErrorCode::kData, hf_directory + ": the vocabulary has " + std::to_string(tokenizer->vocabulary_size()) +
                                       " words, the embedding table " + std::to_string(checkpoint.shape().vocab) + " rows"};
  }
  TESSERA_ASSIGN(const std::unique_ptr<PendingStore> pending, PendingStore::create(store_directory, options.force));
  StoreMaker maker(checkpoint, options, pending->path());
  const std::string name = options.name.empty() ? default_name(hf_directory) : options.name;
  TESSERA_ASSIGN(const StoreSizes sizes, maker.make(name, tokenizer->compile()));
  TESSERA_TRY(pending->commit());
  return sizes;
}

}  // namespace tessera
