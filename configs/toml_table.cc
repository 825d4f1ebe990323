// Reads TOML tables key by key.
#include "configs/toml_table.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "configs/toml_text.h"
#include "framework/registry.h"

namespace tessera::configs {
namespace {

constexpr size_t kLargest = 1 << 20;

std::string at(const std::string& file, const toml::source_region& where) {
  return file + ":" + std::to_string(where.begin.line) + ": ";
}

std::string range_text(double least, double most) {
  std::ostringstream text;
  text << " must be a number from " << least << " to " << most;
  return text.str();
}

}  // namespace

Error TomlTable::error(std::string_view key, const std::string& text) const {
  const toml::node* node = table_.get(key);
  return {ErrorCode::kInvalid, at(file_, node != nullptr ? node->source() : table_.source()) + text};
}

Status TomlTable::need(std::string_view key, std::string_view example) {
  if (has(key)) return {};
  const std::string name(key);
  return error(key, "key '" + name + "' is missing; write " + name + " = \"" + std::string(example) + "\"");
}

Result<std::string> TomlTable::text(std::string_view key) {
  TESSERA_TRY(need(key, "..."));
  const auto value = table_.get(key)->value_exact<std::string>();
  if (!value) return error(key, std::string(key) + " must be text in quotes");
  return *value;
}

Result<int64_t> TomlTable::integer(std::string_view key, int64_t least, int64_t most) {
  const std::string range = std::to_string(least) + " to " + std::to_string(most);
  if (!has(key)) return error(key, "key '" + std::string(key) + "' is missing; write a whole number from " + range);
  const auto value = table_.get(key)->value_exact<int64_t>();
  if (!value) return error(key, std::string(key) + " must be a whole number from " + range);
  if (*value < least || *value > most) {
    return error(key, std::string(key) + " = " + std::to_string(*value) + " is out of range; " + range);
  }
  return *value;
}

Result<bool> TomlTable::boolean(std::string_view key, bool fallback) {
  if (!has(key)) return fallback;
  const auto value = table_.get(key)->value_exact<bool>();
  if (!value) return error(key, std::string(key) + " must be true or false, without quotes");
  return *value;
}

Result<double> TomlTable::number(std::string_view key, double least, double most, double fallback) {
  if (!has(key)) return fallback;
  const auto value = table_.get(key)->value<double>();
  if (!value || !(*value >= least && *value <= most)) return error(key, std::string(key) + range_text(least, most));
  return *value;
}

Result<std::vector<double>> TomlTable::numbers(std::string_view key, double least, double most) {
  std::vector<double> values;
  if (!has(key)) return values;
  const toml::array* list = table_.get(key)->as_array();
  if (list == nullptr || list->empty()) return error(key, std::string(key) + " must be a list of numbers");
  for (const toml::node& node : *list) {
    const auto value = node.value<double>();
    if (!value || !(*value >= least && *value <= most))
      return Error{ErrorCode::kInvalid, at(file_, node.source()) + std::string(key) + ": each" + range_text(least, most)};
    values.push_back(*value);
  }
  return values;
}

Result<std::vector<int64_t>> TomlTable::integers(std::string_view key, int64_t least, int64_t most) {
  const std::string wanted =
      std::string(key) + " must be a list of whole numbers from " + std::to_string(least) + " to " + std::to_string(most);
  if (!has(key)) return error(key, "key '" + std::string(key) + "' is missing; " + wanted);
  const toml::array* list = table_.get(key)->as_array();
  if (list == nullptr || list->empty()) return error(key, wanted);
  std::vector<int64_t> values;
  for (const toml::node& node : *list) {
    const auto value = node.value_exact<int64_t>();
    if (!value || *value < least || *value > most) return Error{ErrorCode::kInvalid, at(file_, node.source()) + wanted};
    values.push_back(*value);
  }
  return values;
}

Result<std::vector<std::string>> TomlTable::texts(std::string_view key) {
  std::vector<std::string> values;
  if (!has(key)) return values;
  const std::string wanted = std::string(key) + " must be a list of texts in quotes";
  const toml::array* list = table_.get(key)->as_array();
  if (list == nullptr) return error(key, wanted);
  for (const toml::node& node : *list) {
    const auto value = node.value_exact<std::string>();
    if (!value) return Error{ErrorCode::kInvalid, at(file_, node.source()) + wanted};
    values.push_back(*value);
  }
  return values;
}

Result<TomlTable> TomlTable::table(std::string_view key) {
  if (!has(key)) return error(key, "table [" + std::string(key) + "] is missing");
  const toml::table* inner = table_.get(key)->as_table();
  if (inner == nullptr) return error(key, std::string(key) + " must be a table, [" + std::string(key) + "]");
  return TomlTable(*inner, file_);
}

Result<std::vector<TomlTable>> TomlTable::tables(std::string_view key) {
  std::vector<TomlTable> inner;
  if (!has(key)) return inner;
  const std::string wanted = std::string(key) + " must be tables, [[" + std::string(key) + "]]";
  const toml::array* list = table_.get(key)->as_array();
  if (list == nullptr) return error(key, wanted);
  for (const toml::node& node : *list) {
    if (node.as_table() == nullptr) return Error{ErrorCode::kInvalid, at(file_, node.source()) + wanted};
    inner.emplace_back(*node.as_table(), file_);
  }
  return inner;
}

Status TomlTable::finish() const {
  for (const auto& [key, node] : table_) {
    if (known_.contains(std::string(key.str()))) continue;
    const std::vector<std::string> known(known_.begin(), known_.end());
    return Error{ErrorCode::kInvalid, at(file_, key.source()) + unknown_name("key", key.str(), known)};
  }
  return {};
}

Result<std::string> TomlTable::literal_of(std::string_view key) const {
  const toml::node* node = table_.get(key);
  if (const auto value = node->value_exact<std::string>()) return *value;
  std::ostringstream number;
  if (const auto whole = node->value_exact<int64_t>()) {
    number << *whole;
  } else if (const auto real = node->value_exact<double>()) {
    number << *real;
  } else {
    return error(key, std::string(key) + " must be a quantity in quotes, as in \"20 ms\"");
  }
  return number.str();
}

std::string beside(const std::string& file, const std::string& path) {
  namespace fs = std::filesystem;
  if (path.empty() || fs::path(path).is_absolute()) return path;
  return (fs::path(file).parent_path() / path).lexically_normal().string();
}

Result<toml::table> parse_toml(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kLargest + 1, '\0');
  if (!in || !in.read(text.data(), static_cast<std::streamsize>(text.size())).eof()) {
    const std::string why =
        in ? "larger than 1 MiB" : (errno != 0 ? std::generic_category().message(errno) : "cannot be read");
    return Error{ErrorCode::kData, path + ": " + why + "; give a TOML file (configs/ has examples)"};
  }
  text.resize(static_cast<size_t>(in.gcount()));
  TESSERA_TRY(check_toml_text(path, text));
  toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    return Error{ErrorCode::kInvalid, at(path, parsed.error().source()) + std::string(parsed.error().description())};
  }
  return std::move(parsed).table();
}

}  // namespace tessera::configs
