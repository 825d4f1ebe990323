// Writes and parses the index file.
#include "shards/store_index.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <nlohmann/json.hpp>

#include "shards/codec_elements.h"
#include "shards/hash.h"
#include "shards/parse_json.h"
#include "shards/shard_format.h"
#include "shards/store_io.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr char kMagic[8] = {'T', 'E', 'S', 'S', 'E', 'R', 'A', '\n'};
// magic, u32 version, u32 bytes of the JSON; then the JSON, zeros to 8, tables, 16 bytes content hash, u64 checksum.
constexpr size_t kHead = 16;
constexpr size_t kTail = 24;
constexpr uint32_t kMaxHeaderBytes = 64 << 20;

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  const auto* p = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), p, p + sizeof value);
}

json header_json(const StoreIndex& index, const std::string& name) {
  const ModelShape& s = index.shape;
  json sizes = json::array();
  for (const StoreSizes::PerBits& b : index.sizes.shards) {
    sizes.push_back({b.bits, b.indices, b.dictionaries, b.outliers, b.outlier_count, b.padding});
  }
  return {{"name", name},
          {"codec", index.codec},
          {"exact_type", element_name(index.exact_type)},
          {"layers", s.layers},
          {"heads", s.heads},
          {"hidden", s.hidden},
          {"ffn", s.ffn},
          {"vocab", s.vocab},
          {"max_tokens", s.max_tokens},
          {"token_types", s.token_types},
          {"layer_norm_eps", s.layer_norm_eps},
          {"labels", s.label_names},
          {"depths", s.depths},
          {"widths", s.widths},
          {"bitwidths", std::vector<int>(s.bitwidths.begin(), s.bitwidths.end())},
          {"sizes", sizes}};
}

std::vector<std::byte> head_and_tables(const StoreIndex& index, const std::string& name) {
  const std::string header = header_json(index, name).dump(-1, ' ', false, json::error_handler_t::replace);
  std::vector<std::byte> out;
  const auto* magic = reinterpret_cast<const std::byte*>(kMagic);
  out.insert(out.end(), magic, magic + sizeof kMagic);
  put(out, kStoreVersion);
  put(out, static_cast<uint32_t>(header.size()));
  const auto* text = reinterpret_cast<const std::byte*>(header.data());
  out.insert(out.end(), text, text + header.size());
  out.resize((out.size() + 7) / 8 * 8, std::byte{0});
  const auto record = [&out](const ExtentRecord& r) {
    put(out, static_cast<uint64_t>(r.payload));
    put(out, r.checksum);
  };
  for (const auto& table : index.shards) std::for_each(table.begin(), table.end(), record);
  std::for_each(index.exits.begin(), index.exits.end(), record);
  record(index.resident);
  record(index.tokenizer);
  for (uint64_t c : index.row_checksums) put(out, c);
  return out;
}

// Reads header values; remembers the first that is wrong.
struct HeaderReader {
  const json& header;
  std::string wrong;

  const json& at(const char* key) {
    static const json kNull;
    const auto found = header.find(key);
    return found == header.end() ? kNull : *found;
  }
  int number(const char* key, int least, int most) {
    const json& v = at(key);
    if (v.is_number_integer() && v >= least && v <= most) return v.get<int>();
    if (wrong.empty()) wrong = std::string("header value ") + key + " is missing or out of range";
    return least;
  }
  std::string text(const char* key) {
    if (at(key).is_string()) return at(key).get<std::string>();
    if (wrong.empty()) wrong = std::string("header value ") + key + " is no text";
    return "";
  }
  // Strictly ascending numbers in [1, most].
  std::vector<int> ascending(const char* key, int most) {
    std::vector<int> numbers;
    const json& list = at(key);
    bool fine = list.is_array() && !list.empty();
    for (size_t i = 0; fine && i < list.size(); ++i) {
      fine = list[i].is_number_integer() && list[i] >= 1 && list[i] <= most;
      if (fine) numbers.push_back(list[i].get<int>());
      fine = fine && (i == 0 || numbers[i] > numbers[i - 1]);
    }
    if (!fine && wrong.empty()) wrong = std::string("header value ") + key + " is no ascending list";
    return numbers;
  }
};

void read_names(HeaderReader& reader, StoreIndex* index) {
  ModelShape& s = index->shape;
  s.name = reader.text("name");
  index->codec = reader.text("codec");
  const std::string type = reader.text("exact_type");
  if (type == "f32") index->exact_type = ElementType::kF32;
  if (type == "f16") index->exact_type = ElementType::kF16;
  if (type == "bf16") index->exact_type = ElementType::kBf16;
  if (type != element_name(index->exact_type)) reader.wrong = "unknown exact_type " + type;
  if (index->codec != "flat") reader.wrong = "unknown codec " + index->codec;
  const json& labels = reader.at("labels");
  if (!labels.is_array() || labels.empty() || labels.size() > 65536 ||
      !std::all_of(labels.begin(), labels.end(), [](const json& l) { return l.is_string(); })) {
    reader.wrong = "header value labels is no list of names";
    return;
  }
  s.label_names = labels.get<std::vector<std::string>>();
  s.labels = static_cast<int>(s.label_names.size());
}

void read_shape(HeaderReader& reader, StoreIndex* index) {
  ModelShape& s = index->shape;
  s.layers = reader.number("layers", 1, 4096);
  s.heads = s.slices = reader.number("heads", 1, kMaxSlices);
  s.hidden = reader.number("hidden", 1, 1 << 16);
  s.ffn = reader.number("ffn", 1, 1 << 20);
  s.vocab = reader.number("vocab", 1, 1 << 24);
  s.max_tokens = reader.number("max_tokens", 1, 1 << 20);
  s.token_types = reader.number("token_types", 1, 1 << 10);
  const json& eps = reader.at("layer_norm_eps");
  s.layer_norm_eps = eps.is_number() ? eps.get<double>() : 0;
  if (!(s.layer_norm_eps > 0 && s.layer_norm_eps < 1)) reader.wrong = "header value layer_norm_eps is out of range";
  if (s.hidden % s.heads || s.ffn % s.heads) reader.wrong = "heads divides hidden or ffn with a rest";
  s.depths = reader.ascending("depths", s.layers);
  s.widths = reader.ascending("widths", s.slices);
  for (int bits : reader.ascending("bitwidths", kExact)) {
    if (!valid_bits(bits)) reader.wrong = "unknown bitwidth " + std::to_string(bits);
    s.bitwidths.push_back(static_cast<Bits>(bits));
  }
  s.stored_exact_bits = 8 * element_size(index->exact_type);
}

void read_sizes(HeaderReader& reader, StoreIndex* index) {
  const json& list = reader.at("sizes");
  if (!list.is_array() || list.size() != index->shape.bitwidths.size()) {
    reader.wrong = "header value sizes does not fit the bitwidths";
    return;
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const json& v = list[i];
    const bool fine = v.is_array() && v.size() == 6 && std::all_of(v.begin(), v.end(), [](const json& n) {
                        return n.is_number_integer() && n >= 0 && n <= (int64_t{1} << 60);
                      });
    if (!fine || v[0] != index->shape.bitwidths[i]) {
      reader.wrong = "header value sizes holds no sizes of bitwidth " + std::to_string(index->shape.bitwidths[i]);
      return;
    }
    index->sizes.shards.push_back({v[0].get<Bits>(), v[1].get<int64_t>(), v[2].get<int64_t>(), v[3].get<int64_t>(),
                                   v[4].get<int64_t>(), v[5].get<int64_t>()});
  }
}

// The binary tables, whose length the header has fixed.
class TableReader {
 public:
  explicit TableReader(const std::byte* at) : at_(at) {}
  uint64_t word() {
    uint64_t value;
    std::memcpy(&value, at_, 8);
    at_ += 8;
    return value;
  }
  ExtentRecord record() {
    const uint64_t payload = word();
    // What cannot be a size becomes -1 and is refused by its check.
    return {payload <= (uint64_t{1} << 46) ? static_cast<int64_t>(payload) : -1, word()};
  }

 private:
  const std::byte* at_;
};

int64_t table_bytes(const StoreIndex& index) {
  const ModelShape& s = index.shape;
  const int64_t records =
      static_cast<int64_t>(s.bitwidths.size()) * s.layers * s.slices + static_cast<int64_t>(s.depths.size()) + 2;
  return records * 16 + row_packing(s, index.exact_type).blocks() * 8;
}

// Least and most bytes of a shard.
std::pair<int64_t, int64_t> shard_bounds(const ModelShape& shape, Bits bits, ElementType type) {
  if (bits == kExact) {
    const int64_t exact = dense_layout(shape, element_size(type)).bytes;
    return {exact, exact};
  }
  int64_t least = 0;
  for (int i = 0; i < kMatrixCount; ++i) least += matrix_dims(shape, static_cast<MatrixKind>(i)).padded_weights() / 8 * bits;
  // All weights outliers of 4 + 4 bytes beside indices, dictionaries, panel starts and padding: never more than 16 a weight.
  return {least, dense_layout(shape, 16).bytes + (64 << 10)};
}

std::string read_tables(const std::byte* tables, StoreIndex* index) {
  TableReader reader(tables);
  const ModelShape& s = index->shape;
  for (Bits bits : s.bitwidths) {
    const auto [least, most] = shard_bounds(s, bits, index->exact_type);
    auto& table = index->shards.emplace_back(static_cast<size_t>(s.layers) * s.slices);
    for (ExtentRecord& record : table) {
      record = reader.record();
      if (record.payload < least || record.payload > most)
        return "a shard of " + shard_file(bits) + " has an impossible size";
    }
  }
  index->exits.resize(s.depths.size());
  for (ExtentRecord& record : index->exits) {
    record = reader.record();
    if (record.payload != exit_layout(s, index->exact_type).bytes) return "an exit has an impossible size";
  }
  index->resident = reader.record();
  if (index->resident.payload != resident_layout(s).floats * 4) return "the residents have an impossible size";
  index->tokenizer = reader.record();
  if (index->tokenizer.payload < 0) return "the tokenizer has an impossible size";
  index->row_checksums.resize(static_cast<size_t>(row_packing(s, index->exact_type).blocks()));
  for (uint64_t& checksum : index->row_checksums) checksum = reader.word();
  return "";
}

void fill_bytes(StoreIndex* index, int64_t index_bytes) {
  ModelShape& s = index->shape;
  s.shard_bytes.assign(static_cast<size_t>(s.layers) * s.slices * kBitsLevels, Bytes{0});
  for (size_t b = 0; b < s.bitwidths.size(); ++b) {
    for (size_t i = 0; i < index->shards[b].size(); ++i) {
      s.shard_bytes[i * kBitsLevels + bits_level(s.bitwidths[b])] = {
          shard_extent_bytes(s.bitwidths[b], index->shards[b][i].payload)};
    }
  }
  s.exit_bytes.assign(static_cast<size_t>(s.layers), Bytes{0});
  for (size_t i = 0; i < s.depths.size(); ++i) s.exit_bytes[s.depths[i] - 1] = {align_block(index->exits[i].payload)};
  const RowPacking rows = row_packing(s, index->exact_type);
  s.row_block = {rows.block_bytes};
  s.resident_bytes = {align_block(index->resident.payload)};
  index->sizes.rows = rows.blocks() * rows.block_bytes;
  index->sizes.exits = 0;
  for (const ExtentRecord& e : index->exits) index->sizes.exits += align_block(e.payload);
  index->sizes.resident = s.resident_bytes.n;
  index->sizes.tokenizer = index->tokenizer.payload;
  index->sizes.index = index_bytes;
}

uint32_t header_length(std::span<const std::byte> bytes) {
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 12, 4);
  return length;
}

size_t tables_start(std::span<const std::byte> bytes) { return (kHead + size_t{header_length(bytes)} + 7) / 8 * 8; }

// Magic, version, checksum and the header's length: what is wrong with them.
std::string check_envelope(std::span<const std::byte> bytes, bool trusted) {
  if (bytes.size() < kHead + kTail || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) {
    return "not the index of a store (" + std::to_string(bytes.size()) + " bytes)";
  }
  uint32_t version = 0;
  uint64_t checksum = 0;
  std::memcpy(&version, bytes.data() + 8, 4);
  std::memcpy(&checksum, bytes.data() + bytes.size() - 8, 8);
  if (version != kStoreVersion) {
    return "store version " + std::to_string(version) + ", this program reads version " + std::to_string(kStoreVersion);
  }
  if (!trusted && checksum64(bytes.first(bytes.size() - 8)) != checksum) {
    return "bytes 0 to " + std::to_string(bytes.size()) + " do not match their checksum";
  }
  if (header_length(bytes) > kMaxHeaderBytes || tables_start(bytes) + kTail > bytes.size()) {
    return "the header is longer than the file";
  }
  return "";
}

std::string hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::byte b : bytes) text += {kDigits[static_cast<unsigned>(b) >> 4], kDigits[static_cast<unsigned>(b) & 15]};
  return text;
}

}  // namespace

std::vector<std::byte> serialize_index(StoreIndex& index) {
  index.content_hash = content_digest(head_and_tables(index, ""));
  std::vector<std::byte> out = head_and_tables(index, index.shape.name);
  for (size_t i = 0; i < 16; ++i) {
    out.push_back(static_cast<std::byte>(std::stoi(index.content_hash.substr(2 * i, 2), nullptr, 16)));
  }
  put(out, checksum64(out));
  fill_bytes(&index, static_cast<int64_t>(out.size()));
  return out;
}

Result<StoreIndex> parse_index(std::span<const std::byte> bytes, const std::string& file, bool trusted) {
  const auto damaged = [&](const std::string& what) {
    return Error{ErrorCode::kData, file + ": " + what + "; make the store again with `tessera shard --force`"};
  };
  const std::string unsound = check_envelope(bytes, trusted);
  if (!unsound.empty()) return damaged(unsound);
  const size_t tables_at = tables_start(bytes);
  const auto* text = reinterpret_cast<const char*>(bytes.data() + kHead);
  const json header = parse_json({text, header_length(bytes)});
  if (!header.is_object()) return damaged("the header is not a JSON object");
  StoreIndex index;
  HeaderReader reader{header, ""};
  read_names(reader, &index);
  read_shape(reader, &index);
  if (reader.wrong.empty()) read_sizes(reader, &index);
  if (!reader.wrong.empty()) return damaged(reader.wrong);
  const int64_t expected = static_cast<int64_t>(tables_at + kTail) + table_bytes(index);
  if (expected != static_cast<int64_t>(bytes.size())) {
    return damaged("has " + std::to_string(bytes.size()) + " bytes, its header makes it " + std::to_string(expected));
  }
  const std::string wrong = read_tables(bytes.data() + tables_at, &index);
  if (!wrong.empty()) return damaged(wrong);
  index.content_hash = hex(bytes.subspan(bytes.size() - kTail, 16));
  fill_bytes(&index, static_cast<int64_t>(bytes.size()));
  return index;
}

}  // namespace tessera
