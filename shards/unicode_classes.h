// Classifies and maps code points as Hugging Face's fast BERT tokenizer does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

inline constexpr char32_t kReplacement = 0xFFFD;

// Removed by clean_text: U+0000, U+FFFD and controls (Cc, Cf, Co) but tab, line feed and carriage return.
bool is_removed_by_cleaning(char32_t c);
bool is_space(char32_t c);        // White_Space
bool is_punctuation(char32_t c);  // ASCII punctuation or P*
bool is_cjk(char32_t c);          // the blocks that BERT puts spaces around
bool is_mark(char32_t c);         // Mn
bool is_word(char32_t c);         // what a regular expression calls \w

// Lower case of one character, independent of its neighbours: one code point, but for U+0130 (two).
void append_lowercase(char32_t c, std::u32string* to);
// Canonical decomposition with marks in canonical order.
std::u32string decompose(std::u32string_view text);

// Code points of UTF-8. Each maximal invalid sequence becomes one U+FFFD (Unicode 15, table 3-8), as Python's "replace".
std::u32string decode_utf8(std::string_view text);
void append_utf8(char32_t c, std::string* to);

}  // namespace tessera
