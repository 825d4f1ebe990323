// Looks tokens up by hash and splits words greedily.
#include "shards/wordpiece.h"

#define XXH_INLINE_ALL
#include <algorithm>
#include <bit>

#include <xxhash.h>

#include "shards/unicode_classes.h"

namespace tessera {
namespace {

constexpr uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 56) << 24; }

}  // namespace

uint64_t token_hash(std::string_view token) { return XXH3_64bits(token.data(), token.size()); }

int32_t WordPiece::find(std::string_view token) const {
  if (token.empty() || token.size() > longest) return -1;
  const uint64_t hash = token_hash(token);
  const size_t mask = slots.size() - 1;
  for (size_t probe = 0; probe < slots.size(); ++probe) {
    const uint32_t slot = slots[(hash + probe) & mask];
    if (slot == 0) return -1;
    if ((slot & 0xFF000000u) != tag_of(hash)) continue;
    const uint32_t id = (slot & 0xFFFFFFu) - 1;
    if (id >= offsets.size() - 1) continue;  // a forged table: the checksum keeps accidents out
    if (arena.substr(offsets[id], offsets[id + 1] - offsets[id]) == token) return static_cast<int32_t>(id);
  }
  return -1;
}

void WordPiece::split(std::u32string_view word, std::vector<int32_t>* ids) const {
  if (word.size() > max_characters) {
    ids->push_back(unk);
    return;
  }
  // Room for the continuation in front; later it overwrites characters that are already matched.
  std::string bytes(continuation.size(), '\0');
  std::vector<uint32_t> ends;  // of each character, in bytes
  ends.reserve(word.size());
  for (const char32_t c : word) {
    append_utf8(c, &bytes);
    ends.push_back(static_cast<uint32_t>(bytes.size()));
  }
  const size_t first_id = ids->size();
  size_t matched = 0;  // characters
  while (matched < ends.size()) {
    size_t begin = matched == 0 ? continuation.size() : ends[matched - 1];
    if (matched > 0) {
      begin -= continuation.size();
      continuation.copy(bytes.data() + begin, continuation.size());
    }
    size_t end = std::upper_bound(ends.begin(), ends.end(), begin + longest) - ends.begin();
    int32_t id = -1;
    for (; end > matched && id < 0; --end) id = find(std::string_view(bytes).substr(begin, ends[end - 1] - begin));
    if (id < 0) {
      ids->resize(first_id);
      ids->push_back(unk);
      return;
    }
    ids->push_back(id);
    matched = end + 1;
  }
}

std::vector<uint32_t> make_slots(const std::vector<std::string>& tokens) {
  std::vector<uint32_t> slots(std::bit_ceil(std::max<size_t>(tokens.size() + tokens.size() / 2, 8)), 0);
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    const uint64_t hash = token_hash(tokens[id]);
    size_t at = hash & (slots.size() - 1);
    while (slots[at] != 0 && tokens[(slots[at] & 0xFFFFFFu) - 1] != tokens[id]) at = (at + 1) & (slots.size() - 1);
    slots[at] = tag_of(hash) | static_cast<uint32_t>(id + 1);
  }
  return slots;
}

}  // namespace tessera
