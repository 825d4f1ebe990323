// Feeds text to a small tokenizer, and edits to its compiled form, checksum put right: it must be refused or stay in bounds.
//
//   byte 0 even   the rest is text; a tab splits a pair
//   byte 0 odd    triples (offset low, offset high, value) that overwrite bytes of the compiled form
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "shards/hash.h"
#include "shards/tokenizer_blob.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace)

std::vector<std::byte> compiled() {
  TokenizerSpec spec;
  spec.vocabulary = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b",           "##a",
                     "##b",   "ab",    "##ba",  "e",     "i",      "!", "\xE4\xB8\x80"};
  spec.added = {{"[SEP]", 3}, {"[MASK]", 4, false, true}, {"Ab", 9, true, false, true, true}};
  return compile_tokenizer(spec).take();
}

std::unique_ptr<Tokenizer> open(const std::vector<std::byte>& bytes) {
  auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  Result<TokenizerImage> image = open_tokenizer(std::move(copy), bytes.size(), "fuzz");
  return image.ok() ? make_tokenizer(image.take()) : nullptr;
}

void check(const Encoding& e, int most) {
  if (e.tokens() > most || e.tokens() < 2 || e.types.size() != e.ids.size()) std::abort();
}

void encode(const Tokenizer& tokenizer, std::string_view text) {
  const size_t tab = text.find('\t');
  for (const int most : {3, 4, 64}) {
    check(tokenizer.encode(text, most), most);
    if (tab != std::string_view::npos) check(tokenizer.encode_pair(text.substr(0, tab), text.substr(tab + 1), most), most);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::byte> original = compiled();
  static const std::unique_ptr<Tokenizer> tokenizer = open(original);
  if (size == 0) return 0;
  if (data[0] % 2 == 0) {
    encode(*tokenizer, {reinterpret_cast<const char*>(data + 1), size - 1});
    return 0;
  }
  std::vector<std::byte> edited = original;
  for (size_t i = 1; i + 2 < size; i += 3)
    edited[(data[i] | size_t{data[i + 1]} << 8) % edited.size()] = std::byte{data[i + 2]};
  const uint64_t checksum = checksum64(std::span<const std::byte>(edited).subspan(16));
  std::memcpy(edited.data() + 8, &checksum, sizeof checksum);
  if (const auto forged = open(edited)) encode(*forged, "ab ba!\t[SEP] \xC3\xA9 Ab [MASK] abba");
  return 0;
}
