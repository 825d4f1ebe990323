// Classifies and maps code points with utf8proc, corrected where the fast tokenizer's tables differ.
#include "shards/unicode_classes.h"

#include <algorithm>
#include <array>

#include <utf8proc.h>

#include "shards/unicode_exceptions.h"

namespace tessera {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

int combining_class(char32_t c) {
  if (c < 0x300 || has_class_since_unicode_10(c)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

void append_decomposition(char32_t c, std::u32string* to) {
  if (c < 0xC0 || c == 0x11938) {  // U+11938 decomposes since Unicode 13, which the fast tokenizer's tables are older than
    to->push_back(c);
    return;
  }
  std::array<utf8proc_int32_t, 32> parts;
  int last_boundary = 0;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(c), parts.data(), static_cast<utf8proc_ssize_t>(parts.size()), options, &last_boundary);
  if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
    to->push_back(c);
    return;
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) to->push_back(static_cast<char32_t>(parts[static_cast<size_t>(i)]));
}

// Length of the valid sequence at text[0], or 0; `maximal` is what one U+FFFD replaces where it is not valid.
size_t sequence_length(std::string_view text, char32_t* value, size_t* maximal) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  *maximal = 1;
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length <= 1) {
    *value = lead;
    return length;
  }
  // The second byte's range keeps out overlong forms, surrogates and what is beyond U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  *value = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i, low = 0x80, high = 0xBF) {
    *maximal = i;
    if (i >= text.size() || byte(i) < low || byte(i) > high) return 0;
    *value = (*value << 6) | (byte(i) & 0x3F);
  }
  return length;
}

}  // namespace

bool is_removed_by_cleaning(char32_t c) {
  if (c < 0x80) return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
  if (c == kReplacement) return true;
  const utf8proc_category_t k = category(c);
  if (k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF && k != UTF8PROC_CATEGORY_CO) return false;
  return !is_control_since_unicode_9(c);
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x9 && c <= 0xD);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  const utf8proc_category_t k = category(c);
  if (k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO) return !is_punctuation_since_unicode_9(c);
  return c == 0x166D || c == 0x111C9;  // were Po until Unicode 12 and 11
}

bool is_cjk(char32_t c) {
  if (c < 0x3400) return false;
  // U+2B820..U+2B91F are missing in the fast tokenizer, too.
  return (c >= 0x4E00 && c <= 0x9FFF) || c <= 0x4DBF || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_mark(char32_t c) {
  if (c < 0x300) return false;
  if (category(c) == UTF8PROC_CATEGORY_MN) return !is_mark_since_unicode_9(c);
  return c == 0x1734;  // was Mn until Unicode 14
}

bool is_word(char32_t c) {
  if (c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9)) return true;
  const utf8proc_category_t k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC;
}

void append_lowercase(char32_t c, std::u32string* to) {
  if (c < 0x80) {
    to->push_back(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {
    to->append({U'i', 0x307});
  } else if (const char32_t lower = lowercase_since_unicode_16(c)) {
    to->push_back(lower);
  } else {
    to->push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

std::u32string decompose(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size() + 16);
  for (const char32_t c : text) append_decomposition(c, &out);
  const auto by_class = [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); };
  for (size_t begin = 0; begin < out.size();) {
    if (combining_class(out[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < out.size() && combining_class(out[end]) != 0) ++end;
    std::stable_sort(out.begin() + static_cast<ptrdiff_t>(begin), out.begin() + static_cast<ptrdiff_t>(end), by_class);
    begin = end;
  }
  return out;
}

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    char32_t value = 0;
    size_t maximal = 1;
    const size_t length = sequence_length(text, &value, &maximal);
    out.push_back(length == 0 ? kReplacement : value);
    text.remove_prefix(length == 0 ? maximal : length);
  }
  return out;
}

void append_utf8(char32_t c, std::string* to) {
  const auto put = [to](char32_t byte) { to->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace tessera
