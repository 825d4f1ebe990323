// Reads every byte of a store and reports all that is flipped, cut or foreign.
#include <algorithm>

#include "shards/hash.h"
#include "shards/shard_format.h"
#include "shards/store.h"
#include "shards/store_commit.h"
#include "shards/store_index.h"

namespace tessera {
namespace {

class Verifier {
 public:
  explicit Verifier(const std::string& directory) : directory_(directory) {}
  Result<VerifyReport> run();

 private:
  // One extent that a file must hold.
  struct Expected {
    int64_t length = 0;
    uint64_t checksum = 0;
    std::string what;  // "shard 3.7@4", "exit 2", "rows"
  };
  void check_file(const std::string& name, const std::vector<Expected>& extents, int parse_bits = 0);
  void check_extent(const OpenedFile& file, const std::string& path, int64_t offset, const Expected& expected,
                    int parse_bits);
  void check_all();
  void damage(std::string message) { report_.damages.push_back({ErrorCode::kData, std::move(message)}); }

  std::string directory_;
  StoreIndex index_;
  VerifyReport report_;
};

void Verifier::check_extent(const OpenedFile& file, const std::string& path, int64_t offset, const Expected& expected,
                            int parse_bits) {
  const BlockBuffer bytes = allocate_blocks(expected.length);
  if (!bytes) return damage(path + ": no memory to check " + to_string(Bytes{expected.length}));
  const Status read = read_fully(file.fd.get(), path, offset, bytes.get(), expected.length);
  if (!read.ok()) return damage(read.error().message);
  ++report_.extents;
  report_.bytes += expected.length;
  const std::string where = path + ": bytes " + std::to_string(offset) + " to " + std::to_string(offset + expected.length) +
                            " (" + expected.what + ")";
  if (checksum64({bytes.get(), static_cast<size_t>(expected.length)}) != expected.checksum) {
    return damage(where + " do not match their checksum");
  }
  if (parse_bits == 0 || parse_bits == kExact) return;
  const auto parsed =
      parse_coded_shard(index_.shape, static_cast<Bits>(parse_bits), index_.exact_type, bytes.get(), expected.length);
  if (!parsed.ok()) damage(where + ": " + parsed.error().message);
}

void Verifier::check_file(const std::string& name, const std::vector<Expected>& extents, int parse_bits) {
  const std::string path = directory_ + "/" + name;
  auto file = open_regular(path);
  if (!file.ok()) return damage(file.error().message);
  ++report_.files;
  int64_t total = 0;
  for (const Expected& e : extents) total += e.length;
  if (file->bytes != total) {
    damage(path + ": has " + std::to_string(file->bytes) + " bytes, the index makes it " + std::to_string(total));
  }
  int64_t offset = 0;
  for (const Expected& e : extents) {
    if (offset + e.length > file->bytes) return;  // the rest is cut off, as just said
    check_extent(*file, path, offset, e, parse_bits);
    offset += e.length;
  }
}

void Verifier::check_all() {
  const ModelShape& shape = index_.shape;
  for (size_t b = 0; b < shape.bitwidths.size(); ++b) {
    const Bits bits = shape.bitwidths[b];
    std::vector<Expected> extents;
    for (size_t i = 0; i < index_.shards[b].size(); ++i) {
      const ExtentRecord& r = index_.shards[b][i];
      extents.push_back({shard_extent_bytes(bits, r.payload), r.checksum,
                         "shard " + std::to_string(i / shape.slices) + "." + std::to_string(i % shape.slices) + "@" +
                             std::to_string(bits)});
    }
    check_file(shard_file(bits), extents, bits);
  }
  std::vector<Expected> exits;
  for (size_t i = 0; i < shape.depths.size(); ++i) {
    exits.push_back(
        {align_block(index_.exits[i].payload), index_.exits[i].checksum, "exit " + std::to_string(shape.depths[i])});
  }
  check_file("exits", exits);
  const RowPacking packing = row_packing(shape, index_.exact_type);
  std::vector<Expected> rows;
  for (uint64_t checksum : index_.row_checksums) rows.push_back({packing.block_bytes, checksum, "embedding rows"});
  check_file("rows", rows);
  check_file("resident", {{align_block(index_.resident.payload), index_.resident.checksum, "residents"}});
  check_file("tokenizer", {{index_.tokenizer.payload, index_.tokenizer.checksum, "tokenizer"}});
}

Result<VerifyReport> Verifier::run() {
  const std::string index_path = directory_ + "/index";
  const auto bytes = read_file(index_path, kMaxIndexBytes);
  if (!bytes.ok()) return Error{ErrorCode::kData, bytes.error().message + "; `tessera verify` takes the folder of a store"};
  report_.files = 1;
  report_.bytes = static_cast<int64_t>(bytes->size());
  auto index = parse_index(*bytes, index_path);
  if (!index.ok()) {  // nothing else can be checked without it
    report_.damages.push_back(index.error());
    return report_;
  }
  index_ = index.take();
  StoreIndex again = index_;
  if (serialize_index(again) != *bytes) damage(index_path + ": is not what this program writes for its own contents");
  check_all();
  TESSERA_ASSIGN(const auto foreign, foreign_entries(directory_, index_.shape.bitwidths));
  for (const std::string& name : foreign) damage(directory_ + "/" + name + ": does not belong to the store");
  return report_;
}

}  // namespace

Result<VerifyReport> verify_store(const std::string& directory) { return Verifier(directory).run(); }

}  // namespace tessera
