// Cleans text and cuts it into words, before they are split into tokens.
#pragma once

#include <string>
#include <string_view>

#include "shards/unicode_classes.h"

namespace tessera {

struct NormalizeRules {
  bool clean_text = true;
  bool chinese_characters = true;
  bool strip_accents = true;
  bool lowercase = true;
};

// What BertNormalizer does, in its order: clean, spaces around CJK characters, strip accents (NFD without Mn), lower case.
std::u32string normalize(const NormalizeRules& rules, std::u32string_view text);

// Calls take(word) for each word of normalized text: white space separates and goes, punctuation stands alone. Stops early
// where take returns false.
template <typename Take>
void for_each_word(std::u32string_view text, Take take) {
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool punctuation = i < text.size() && is_punctuation(text[i]);
    if (i < text.size() && !punctuation && !is_space(text[i])) continue;
    if (i > begin && !take(text.substr(begin, i - begin))) return;
    if (punctuation && !take(text.substr(i, 1))) return;
    begin = i + 1;
  }
}

}  // namespace tessera
