// Looks at a TOML text as the parser's lexer does: quotes, comments, and what is between. Where the two disagree the text is
// not TOML, and the parser stops there.
#include "configs/toml_text.h"

#include <algorithm>

namespace tessera::configs {
namespace {

// Past the quotes that close what `text[at]` opens: one line, or several in three quotes. Its end where none do.
size_t past_quotes(std::string_view text, size_t at) {
  const char quote = text[at];
  const std::string three(3, quote);
  const bool several = text.substr(at, 3) == three;
  for (at += several ? 3 : 1; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (several && text.substr(at, 3) == three) {
      at += 3;
      for (int more = 0; more < 2 && at < text.size() && text[at] == quote; ++more) ++at;  // the text's own last quotes
      return at;
    } else if (!several && (text[at] == quote || text[at] == '\n')) {
      return at + (text[at] == quote ? 1 : 0);
    }
  }
  return text.size();
}

}  // namespace

Status check_toml_text(const std::string& path, std::string_view text) {
  int dots = 0;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      i = past_quotes(text, i);
      continue;
    }
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (std::string_view("=,[]{}\n").find(c) != std::string_view::npos) dots = 0;
    if (c == '.' && ++dots >= kMostParts) {
      const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(i), '\n');
      return Error{ErrorCode::kInvalid,
                   path + ":" + std::to_string(line) + ": a key has more than " + std::to_string(kMostParts) + " parts"};
    }
    ++i;
  }
  return {};
}

}  // namespace tessera::configs
