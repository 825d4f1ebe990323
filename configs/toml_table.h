// Reads one TOML table key by key, with units, ranges and messages that name file and line.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "configs/toml.h"
#include "configs/units.h"
#include "framework/result.h"

namespace tessera::configs {

// A view; the document outlives it. Every getter marks its key as known; finish() refuses the others.
class TomlTable {
 public:
  TomlTable(const toml::table& table, std::string file) : table_(table), file_(std::move(file)) {}

  bool has(std::string_view key) {
    known_.insert(std::string(key));
    return table_.contains(key);
  }
  // Refuses where the key is absent, and shows how to write it.
  Status need(std::string_view key, std::string_view example);
  Result<std::string> text(std::string_view key);
  Result<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  Result<bool> boolean(std::string_view key, bool fallback);
  Result<double> number(std::string_view key, double least, double most, double fallback);  // whole or not
  Result<std::vector<double>> numbers(std::string_view key, double least, double most);     // empty where absent
  Result<std::vector<int64_t>> integers(std::string_view key, int64_t least, int64_t most);
  Result<std::vector<std::string>> texts(std::string_view key);
  // Quantities with units; `fallback` where the key is absent.
  Result<Duration> duration(std::string_view key, Duration fallback) { return quantity(key, fallback, parse_duration); }
  Result<Bytes> bytes(std::string_view key, Bytes fallback) { return quantity(key, fallback, parse_bytes); }
  Result<BytesPerSecond> bandwidth(std::string_view key, BytesPerSecond fallback) {
    return quantity(key, fallback, parse_bandwidth);
  }
  Result<double> flops(std::string_view key, double fallback) { return quantity(key, fallback, parse_flops); }
  Result<double> frequency(std::string_view key, double fallback) { return quantity(key, fallback, parse_frequency); }
  Result<double> weight_rate(std::string_view key, double fallback) { return quantity(key, fallback, parse_weight_rate); }
  Result<TomlTable> table(std::string_view key);
  Result<std::vector<TomlTable>> tables(std::string_view key);  // of an array of tables; empty where absent

  // Refuses keys that no getter asked for.
  Status finish() const;
  // "file:line: text", the line being the key's where it is there, else the table's.
  Error error(std::string_view key, const std::string& text) const;

 private:
  template <typename T>
  Result<T> quantity(std::string_view key, T fallback, Result<T> (*parse)(std::string_view)) {
    if (!has(key)) return fallback;
    TESSERA_ASSIGN(const std::string literal, literal_of(key));
    auto value = parse(literal);
    if (!value.ok()) return error(key, std::string(key) + ": " + value.error().message);
    return value;
  }
  // The text of a string, or a bare number as it would be written (which has no unit, as the parser will say).
  Result<std::string> literal_of(std::string_view key) const;

  const toml::table& table_;
  std::string file_;
  std::set<std::string> known_;
};

// A path as written in `file`, made relative to where the command runs; none stays none.
std::string beside(const std::string& file, const std::string& path);

// Reads and parses a file of at most 1 MiB.
Result<toml::table> parse_toml(const std::string& path);

}  // namespace tessera::configs
