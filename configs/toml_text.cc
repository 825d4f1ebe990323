// Looks at each line of a TOML text as the parser's lexer would: quotes, comments, and what is between.
#include "configs/toml_text.h"

#include <algorithm>
#include <optional>

namespace tessera::configs {
namespace {

// Past the quote that closes the text which `line[at]` opens, or the line's end.
size_t past_quotes(std::string_view line, size_t at) {
  const char quote = line[at];
  for (++at; at < line.size() && line[at] != quote; ++at)
    if (quote == '"' && line[at] == '\\') ++at;
  return at + 1;
}

std::optional<std::string> wrong_in(std::string_view line) {
  int dots = 0;
  for (size_t i = 0; i < line.size() && line[i] != '#';) {
    const char c = line[i];
    if (c == '"' || c == '\'') {
      if (line.substr(i, 3) == std::string(3, c)) return "texts of several lines are not read; write one line, in one quote";
      i = past_quotes(line, i);
      continue;
    }
    if (static_cast<unsigned char>(c) >= 0x80) return "a character that is not ASCII stands outside of quotes";
    if (c == '.' && ++dots >= kMostParts) return "a key has more than " + std::to_string(kMostParts) + " parts";
    if (std::string_view("=,[]{}").find(c) != std::string_view::npos) dots = 0;
    ++i;
  }
  return {};
}

}  // namespace

Status check_toml_text(const std::string& path, std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (const auto wrong = wrong_in(line))
      return Error{ErrorCode::kInvalid, path + ":" + std::to_string(number) + ": " + *wrong};
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

}  // namespace tessera::configs
