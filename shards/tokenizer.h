// Turns text into WordPiece ids exactly as Hugging Face's fast BERT tokenizer does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/result.h"

namespace tessera {

struct TokenizerConfig {
  bool lowercase = true;
  bool strip_accents = true;       // follows lowercase where the checkpoint leaves it null
  bool chinese_characters = true;  // each CJK character a word
  bool clean_text = true;
  int max_characters_per_word = 100;  // longer words are [UNK]
  std::string unk = "[UNK]", cls = "[CLS]", sep = "[SEP]", pad = "[PAD]", mask = "[MASK]";
  std::string continuation = "##";
};

struct Encoding {
  std::vector<int32_t> ids;    // [CLS] a [SEP] (b [SEP])
  std::vector<int32_t> types;  // 0 for a, 1 for b
  bool truncated = false;
  int tokens() const { return static_cast<int>(ids.size()); }
};

// Immutable; encode is safe from any thread. Text is UTF-8; invalid bytes are replaced by U+FFFD, as a decoder would.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // From a checkpoint's folder: vocab.txt, with tokenizer.json and tokenizer_config.json where they are there.
  static Result<std::unique_ptr<Tokenizer>> from_hf(const std::string& directory);
  // From a store's compiled tokenizer file: one read, no parsing of the vocabulary (start-up time counts).
  static Result<std::unique_ptr<Tokenizer>> from_compiled(const std::string& path);
  // The compiled form, checksummed; little-endian on every machine.
  virtual std::vector<std::byte> compile() const = 0;

  // At most max_tokens ids, special tokens included (>= 3). Pairs are cut longest first, as Hugging Face does.
  virtual Encoding encode(std::string_view text, int max_tokens) const = 0;
  virtual Encoding encode_pair(std::string_view a, std::string_view b, int max_tokens) const = 0;
  virtual int vocabulary_size() const = 0;
  virtual int64_t resident_bytes() const = 0;
};

}  // namespace tessera
