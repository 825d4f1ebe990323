// What a text must not hold, for the parser to be given it.
#pragma once

#include <string>
#include <string_view>

#include "framework/result.h"

namespace tessera::configs {

// toml++ 3.3 and 3.4 (Debian's and Ubuntu's) answer most of what is wrong in a text, but not all: a character beyond ASCII
// outside of quotes is undefined behaviour (mended in its pull request 305), and tables that a key of many parts nests
// overflow the stack when they go (242). Refused here, by file and line:
// - such characters. TOML 1.0 has none there; a byte order mark at the start, and all within quotes and comments, may stay;
// - keys of more than kMostParts parts;
// - texts of several lines (three quotes), which are TOML, so that lines can be looked at one by one.
Status check_toml_text(const std::string& path, std::string_view text);

inline constexpr int kMostParts = 32;  // a.b.c has 3; no description here has more than 2

}  // namespace tessera::configs
