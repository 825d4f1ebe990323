// Lists where the fast tokenizer's Unicode tables differ from utf8proc's.
#pragma once

namespace tessera {

// Inclusive.
struct CodeRange {
  char32_t first, last;
};

bool is_control_since_unicode_9(char32_t c);
bool is_punctuation_since_unicode_9(char32_t c);
bool is_mark_since_unicode_9(char32_t c);
bool has_class_since_unicode_10(char32_t c);
// The lower case that Unicode 16 or 17 gave to c, or 0.
char32_t lowercase_since_unicode_16(char32_t c);

}  // namespace tessera
