// Parses JSON that may come from anywhere.
#pragma once

#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace tessera {

// Deeper than any file of a checkpoint or a store; the library copies and prints a level a stack frame.
inline constexpr int kMostJsonLevels = 64;

// `is_discarded()` where `text` is not JSON or nests deeper than that.
nlohmann::json parse_json(std::string_view text);

}  // namespace tessera
