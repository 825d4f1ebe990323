// Reads GLUE-like TSV files.
#include "shards/dataset.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kMaxLine = size_t{1} << 20;

Error bad(const std::string& path, int64_t line, const std::string& what) {
  return {ErrorCode::kData, path + (line > 0 ? ":" + std::to_string(line) : "") + ": " + what};
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t begin = 0;;) {
    const size_t end = line.find('\t', begin);
    fields.push_back(line.substr(begin, end - begin));
    if (end == std::string_view::npos) return fields;
    begin = end + 1;
  }
}

struct Columns {
  int a = -1, b = -1, label = -1;
  size_t count = 0;
};

Result<Columns> find_columns(const std::string& path, std::string_view header) {
  if (header.starts_with("\xEF\xBB\xBF")) header.remove_prefix(3);
  const std::vector<std::string_view> names = split(header);
  const auto column = [&](std::string_view name) {
    const auto at = std::find(names.begin(), names.end(), name);
    return at == names.end() ? -1 : static_cast<int>(at - names.begin());
  };
  Columns columns{column("sentence1"), column("sentence2"), column("label"), names.size()};
  if (columns.a < 0 || columns.b < 0) columns.a = column("sentence"), columns.b = -1;
  if (columns.a < 0)
    return bad(path, 1,
               "header '" + std::string(header.substr(0, 80)) +
                   "' names no text; expected 'sentence' or 'sentence1' and 'sentence2' (and 'label')");
  return columns;
}

Result<int> read_label(const std::string& path, int64_t line, std::string_view text, const std::vector<std::string>& names) {
  if (const auto at = std::find(names.begin(), names.end(), text); at != names.end())
    return static_cast<int>(at - names.begin());
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size() && value >= -1;
  if (number && (names.empty() || value < static_cast<int>(names.size()))) return value;
  std::string expected;
  for (const std::string& name : names) expected += (expected.empty() ? "" : ", ") + name;
  return bad(path, line,
             "label '" + std::string(text.substr(0, 40)) + "' is not one of 0 to " +
                 (names.empty() ? "..." : std::to_string(names.size() - 1) + " (" + expected + ")"));
}

}  // namespace

Result<Dataset> read_tsv(const std::string& path, const std::vector<std::string>& label_names) {
  std::error_code ignored;
  const bool device = std::filesystem::is_character_file(path, ignored) || std::filesystem::is_block_file(path, ignored);
  const bool folder = std::filesystem::is_directory(path, ignored);
  if (device || folder)
    return bad(path, 0, std::string("is a ") + (folder ? "folder" : "device") + "; expected a TSV file with a header line");
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string line;
  if (!in)
    return bad(path, 0,
               "cannot be opened: " + std::generic_category().message(errno) + "; expected a TSV file with a header line");
  if (!std::getline(in, line)) return bad(path, 0, "is empty or cannot be read; expected a TSV file with a header line");
  if (line.ends_with('\r')) line.pop_back();
  TESSERA_ASSIGN(const Columns columns, find_columns(path, line));
  Dataset data;
  data.path = path;
  data.pairs = columns.b >= 0;
  for (int64_t number = 2; std::getline(in, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() && in.peek() == std::ifstream::traits_type::eof()) break;
    if (line.size() > kMaxLine) return bad(path, number, "has more than 1 MiB; is this a TSV file?");
    const std::vector<std::string_view> fields = split(line);
    if (fields.size() != columns.count)
      return bad(path, number,
                 "has " + std::to_string(fields.size()) + " columns, the header has " + std::to_string(columns.count));
    Example example;
    example.a = fields[static_cast<size_t>(columns.a)];
    if (data.pairs) example.b = fields[static_cast<size_t>(columns.b)];
    if (columns.label >= 0) {
      TESSERA_ASSIGN(example.label, read_label(path, number, fields[static_cast<size_t>(columns.label)], label_names));
    }
    data.examples.push_back(std::move(example));
  }
  if (in.bad()) return bad(path, 0, "cannot be read to its end");
  return data;
}

}  // namespace tessera
