// Lays a tokenizer out in one flat file that is usable as read.
//
//   header    128 bytes, TokenizerHeader
//   offsets   u32[tokens + 1]    into the arena
//   slots     u32[slots]         hash table (shards/wordpiece.h)
//   added     u32[3] each        id, flags, bytes: tokens that are found in the text itself
//   arena     the tokens' bytes, one after the other
//   strings   the added tokens' bytes, then the continuation prefix
// Little-endian. The checksum (XXH3, 64 bits) covers all bytes behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/result.h"
#include "shards/tokenizer.h"
#include "shards/tokenizer_text.h"
#include "shards/wordpiece.h"

namespace tessera {

// A token that is recognised in the text before (or, `normalized`, after) cleaning, never split.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // not inside a longer word
  bool strip_left = false;   // takes the white space before it
  bool strip_right = false;
  bool normalized = false;
};

// A tokenizer as a checkpoint describes it.
struct TokenizerSpec {
  TokenizerConfig config;
  std::vector<std::string> vocabulary;  // by id, empty where an id is unused
  std::vector<AddedToken> added;
};

// A compiled tokenizer, opened: owns the bytes that `pieces` points into.
struct TokenizerImage {
  std::unique_ptr<std::byte[]> bytes;
  size_t size = 0;
  NormalizeRules rules;
  WordPiece pieces;
  std::vector<AddedToken> added;
  int32_t cls = 0, sep = 0;
  int tokens = 0;
};

// kData where a special token is missing or a limit is passed.
Result<std::vector<std::byte>> compile_tokenizer(const TokenizerSpec& spec);
// Checks the checksum, every size and every offset; no byte outside is ever read afterwards. `name` is for messages.
Result<TokenizerImage> open_tokenizer(std::unique_ptr<std::byte[]> bytes, size_t size, const std::string& name);
// Reads a checkpoint's tokenizer files.
Result<TokenizerSpec> import_tokenizer(const std::string& directory);
std::unique_ptr<Tokenizer> make_tokenizer(TokenizerImage image);

}  // namespace tessera
