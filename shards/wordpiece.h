// Finds tokens in a compiled vocabulary and splits words into them, longest match first.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

// Views of a compiled tokenizer's sections (shards/tokenizer_blob.h owns and checks the bytes).
//   offsets u32[n + 1]   token i is arena[offsets[i], offsets[i + 1]); empty where the id is unused
//   slots   u32[2^k]     open addressing, linear probing: 0 free, else (8 bits of the hash) << 24 | id + 1
struct WordPiece {
  std::span<const uint32_t> offsets;
  std::span<const uint32_t> slots;
  std::string_view arena;
  std::string_view continuation;  // "##"
  uint32_t longest = 0;           // bytes of the longest token
  uint32_t max_characters = 100;
  int32_t unk = 0;

  static constexpr uint32_t kMaxTokens = (1u << 24) - 2;

  int32_t find(std::string_view token) const;  // -1: not there
  // Appends the pieces of a word, or `unk` where it is too long or has a part that is no token.
  void split(std::u32string_view word, std::vector<int32_t>* ids) const;
};

uint64_t token_hash(std::string_view token);
// The table over tokens; where two are equal the later id wins, as in a map that is filled in order.
std::vector<uint32_t> make_slots(const std::vector<std::string>& tokens);

}  // namespace tessera
