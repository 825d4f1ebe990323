// Writes and opens compiled tokenizers.
#include "shards/tokenizer_blob.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "shards/hash.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "compiled tokenizers are little-endian and are used in place");

constexpr char kMagic[8] = {'T', 'S', 'R', 'T', 'O', 'K', 'N', '\n'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kMaxCharactersLimit = 1 << 20;
constexpr size_t kCovered = 16;  // bytes of the header that the checksum does not cover

struct TokenizerHeader {
  char magic[8];
  uint64_t checksum;
  uint32_t version;
  uint32_t rules;  // bits: clean, chinese, strip, lowercase
  uint64_t size;   // of the file
  uint32_t tokens, slots, added, arena;
  uint32_t added_bytes, continuation_bytes;
  uint32_t longest, max_characters;
  int32_t unk, cls, sep, pad, mask;  // -1: none
  uint32_t reserved[11];
};
static_assert(sizeof(TokenizerHeader) == 128);

struct AddedRecord {
  uint32_t id, flags, bytes;
};

uint32_t pack_rules(const TokenizerConfig& c) {
  return (c.clean_text ? 1u : 0) | (c.chinese_characters ? 2u : 0) | (c.strip_accents ? 4u : 0) | (c.lowercase ? 8u : 0);
}
NormalizeRules unpack_rules(uint32_t bits) { return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0}; }

uint32_t pack_flags(const AddedToken& t) {
  return (t.single_word ? 1u : 0) | (t.strip_left ? 2u : 0) | (t.strip_right ? 4u : 0) | (t.normalized ? 8u : 0);
}

void append(std::vector<std::byte>* to, const void* from, size_t size) {
  const auto* bytes = static_cast<const std::byte*>(from);
  to->insert(to->end(), bytes, bytes + size);
}

Error damaged(const std::string& name, const std::string& what) {
  return {ErrorCode::kData, name + ": " + what + "; write the store again with `tessera shard --force`"};
}

// The id of a special token; -1 where it is missing.
int32_t id_of(const TokenizerSpec& spec, const std::string& token) {
  for (const AddedToken& added : spec.added)
    if (added.content == token) return added.id;
  const auto at = std::find(spec.vocabulary.rbegin(), spec.vocabulary.rend(), token);
  return token.empty() ? -1 : static_cast<int32_t>(spec.vocabulary.rend() - at) - 1;
}

Status fill_special(const TokenizerSpec& spec, TokenizerHeader* header) {
  const TokenizerConfig& c = spec.config;
  const std::pair<const std::string*, int32_t*> required[] = {
      {&c.unk, &header->unk}, {&c.cls, &header->cls}, {&c.sep, &header->sep}};
  for (const auto& [token, id] : required) {
    *id = id_of(spec, *token);
    if (*id < 0) {
      return Error{ErrorCode::kData, "vocabulary of " + std::to_string(spec.vocabulary.size()) + " tokens: '" + *token +
                                         "' is not in it; a BERT classifier needs [CLS], [SEP] and [UNK]"};
    }
  }
  header->pad = id_of(spec, c.pad);
  header->mask = id_of(spec, c.mask);
  return {};
}

Status check_limits(const TokenizerSpec& spec) {
  const auto bad = [](const std::string& what) { return Error{ErrorCode::kData, "tokenizer: " + what}; };
  if (spec.vocabulary.empty()) return bad("the vocabulary is empty");
  if (spec.vocabulary.size() > WordPiece::kMaxTokens)
    return bad("vocabulary of " + std::to_string(spec.vocabulary.size()) + " tokens; at most " +
               std::to_string(WordPiece::kMaxTokens) + " are supported");
  if (spec.config.max_characters_per_word < 1 || spec.config.max_characters_per_word > static_cast<int>(kMaxCharactersLimit))
    return bad("max_input_chars_per_word is " + std::to_string(spec.config.max_characters_per_word) +
               "; expected 1 to 1048576");
  size_t arena = 0;
  for (const std::string& token : spec.vocabulary) arena += token.size();
  if (arena > (size_t{1} << 30)) return bad("the vocabulary has more than 1 GiB of text");
  for (const AddedToken& token : spec.added)
    if (token.content.empty() || token.content.size() > 65536 || token.id < 0 ||
        static_cast<size_t>(token.id) >= spec.vocabulary.size())
      return bad("added token '" + token.content.substr(0, 40) + "' has id " + std::to_string(token.id) +
                 "; expected 0 to " + std::to_string(spec.vocabulary.size() - 1) + " and a text of 1 to 65536 bytes");
  return {};
}

// Cuts sections off the front of the file; `ok` stays true while all of them lie inside.
struct Cutter {
  std::byte* at;
  size_t left;
  bool ok = true;
  template <typename T>
  std::span<const T> take(uint64_t count) {
    if (!ok || count > left / sizeof(T)) {
      ok = false;
      return {};
    }
    const std::span<const T> section(reinterpret_cast<const T*>(at), count);
    at += count * sizeof(T);
    left -= count * sizeof(T);
    return section;
  }
  std::string_view text(uint64_t count) {
    const auto section = take<char>(count);
    return {section.data(), section.size()};
  }
};

bool read_added(std::span<const AddedRecord> records, std::string_view text, uint32_t tokens, std::vector<AddedToken>* out) {
  for (const AddedRecord& record : records) {
    if (record.bytes == 0 || record.bytes > text.size() || record.id >= tokens || record.flags > 15) return false;
    out->push_back({std::string(text.substr(0, record.bytes)), static_cast<int32_t>(record.id), (record.flags & 1) != 0,
                    (record.flags & 2) != 0, (record.flags & 4) != 0, (record.flags & 8) != 0});
    text.remove_prefix(record.bytes);
  }
  return text.empty();
}

Status check_header(const TokenizerHeader& header, const std::byte* bytes, size_t size, const std::string& name) {
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return damaged(name, "is not a compiled tokenizer");
  if (header.version != kVersion)
    return damaged(name, "is of version " + std::to_string(header.version) + ", expected " + std::to_string(kVersion));
  if (header.size != size)
    return damaged(name, "has " + std::to_string(size) + " bytes, its header expects " + std::to_string(header.size));
  if (checksum64({bytes + kCovered, size - kCovered}) != header.checksum)
    return damaged(name, "checksum over bytes 16 to " + std::to_string(size) + " does not match");
  const auto is_token = [&](int32_t id) { return id >= 0 && static_cast<uint32_t>(id) < header.tokens; };
  const bool sound = header.tokens > 0 && header.tokens <= WordPiece::kMaxTokens && std::has_single_bit(header.slots) &&
                     header.max_characters >= 1 && header.max_characters <= kMaxCharactersLimit && is_token(header.unk) &&
                     is_token(header.cls) && is_token(header.sep) && header.longest <= header.arena;
  if (!sound) return damaged(name, "its header is not sound (bytes 24 to 92)");
  return {};
}

}  // namespace

Result<std::vector<std::byte>> compile_tokenizer(const TokenizerSpec& spec) {
  TESSERA_TRY(check_limits(spec));
  TokenizerHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  TESSERA_TRY(fill_special(spec, &header));
  std::vector<uint32_t> offsets{0};
  for (const std::string& token : spec.vocabulary) {
    offsets.push_back(offsets.back() + static_cast<uint32_t>(token.size()));
    header.longest = std::max(header.longest, static_cast<uint32_t>(token.size()));
  }
  const std::vector<uint32_t> slots = make_slots(spec.vocabulary);
  for (const AddedToken& token : spec.added) header.added_bytes += static_cast<uint32_t>(token.content.size());
  header.version = kVersion;
  header.rules = pack_rules(spec.config);
  header.tokens = static_cast<uint32_t>(spec.vocabulary.size());
  header.slots = static_cast<uint32_t>(slots.size());
  header.added = static_cast<uint32_t>(spec.added.size());
  header.arena = offsets.back();
  header.continuation_bytes = static_cast<uint32_t>(spec.config.continuation.size());
  header.max_characters = static_cast<uint32_t>(spec.config.max_characters_per_word);

  std::vector<std::byte> out(sizeof header);
  append(&out, offsets.data(), offsets.size() * sizeof(uint32_t));
  append(&out, slots.data(), slots.size() * sizeof(uint32_t));
  for (const AddedToken& token : spec.added) {
    const AddedRecord record{static_cast<uint32_t>(token.id), pack_flags(token),
                             static_cast<uint32_t>(token.content.size())};
    append(&out, &record, sizeof record);
  }
  for (const std::string& token : spec.vocabulary) append(&out, token.data(), token.size());
  for (const AddedToken& token : spec.added) append(&out, token.content.data(), token.content.size());
  append(&out, spec.config.continuation.data(), spec.config.continuation.size());
  header.size = out.size();
  std::memcpy(out.data(), &header, sizeof header);
  header.checksum = checksum64(std::span<const std::byte>(out).subspan(kCovered));
  std::memcpy(out.data(), &header, sizeof header);
  return out;
}

Result<TokenizerImage> open_tokenizer(std::unique_ptr<std::byte[]> bytes, size_t size, const std::string& name) {
  TokenizerHeader header;
  if (size < sizeof header)
    return damaged(name, "has " + std::to_string(size) + " bytes, expected at least " + std::to_string(sizeof header));
  std::memcpy(&header, bytes.get(), sizeof header);
  TESSERA_TRY(check_header(header, bytes.get(), size, name));

  TokenizerImage image;
  Cutter cut{bytes.get() + sizeof header, size - sizeof header};
  WordPiece& pieces = image.pieces;
  pieces.offsets = cut.take<uint32_t>(uint64_t{header.tokens} + 1);
  pieces.slots = cut.take<uint32_t>(header.slots);
  const auto records = cut.take<AddedRecord>(header.added);
  pieces.arena = cut.text(header.arena);
  const std::string_view added = cut.text(header.added_bytes);
  pieces.continuation = cut.text(header.continuation_bytes);
  const bool sound = cut.ok && cut.left == 0 && pieces.offsets.front() == 0 && pieces.offsets.back() == header.arena &&
                     std::is_sorted(pieces.offsets.begin(), pieces.offsets.end()) &&
                     read_added(records, added, header.tokens, &image.added);
  if (!sound) return damaged(name, "its sections do not fit its header");
  pieces.longest = header.longest;
  pieces.max_characters = header.max_characters;
  pieces.unk = header.unk;
  image.rules = unpack_rules(header.rules);
  image.cls = header.cls;
  image.sep = header.sep;
  image.tokens = static_cast<int>(header.tokens);
  image.size = size;
  image.bytes = std::move(bytes);
  return image;
}

}  // namespace tessera
