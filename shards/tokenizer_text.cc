// Cleans text as BertNormalizer does.
#include "shards/tokenizer_text.h"

#include <algorithm>

namespace tessera {

std::u32string normalize(const NormalizeRules& rules, std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size() + 8);
  for (char32_t c : text) {
    if (rules.clean_text) {
      if (is_removed_by_cleaning(c)) continue;
      if (is_space(c)) c = U' ';
    }
    if (rules.chinese_characters && is_cjk(c)) {
      out.append({U' ', c, U' '});
    } else {
      out.push_back(c);
    }
  }
  const bool ascii = std::all_of(out.begin(), out.end(), [](char32_t c) { return c < 0x80; });
  if (rules.strip_accents && !ascii) {
    out = decompose(out);
    std::erase_if(out, is_mark);
  }
  if (!rules.lowercase) return out;
  std::u32string lower;
  lower.reserve(out.size());
  for (const char32_t c : out) append_lowercase(c, &lower);
  return lower;
}

}  // namespace tessera
