// What a text must not hold, for the parser to be given it.
#pragma once

#include <string>
#include <string_view>

#include "framework/result.h"

namespace tessera::configs {

inline constexpr int kMostParts = 32;  // of a key: a.b.c has 3; no description here has more than 2

// Refuses, by file and line, keys of more than kMostParts parts: toml++ makes a table within a table of each part, and the
// stack overflows where they go (in 3.3 and 3.4; mended in its pull request 242).
Status check_toml_text(const std::string& path, std::string_view text);

}  // namespace tessera::configs
