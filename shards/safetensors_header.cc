// Parses the header of a safetensors file: JSON from anywhere, so every number is checked before it is used.
#include <limits>

#include <nlohmann/json.hpp>

#include "shards/parse_json.h"
#include "shards/safetensors.h"

namespace tessera {
namespace {

using nlohmann::json;

// Bytes of an element; 0 for a dtype that safetensors does not know.
int64_t dtype_bytes(const std::string& dtype) {
  static const std::map<std::string, int64_t> kBytes = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                                        {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                                        {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  const auto found = kBytes.find(dtype);
  return found == kBytes.end() ? 0 : found->second;
}

bool as_size(const json& value, int64_t* out) {
  if (!value.is_number_unsigned()) return false;
  const auto n = value.get<uint64_t>();
  if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
  *out = static_cast<int64_t>(n);
  return true;
}

// What is wrong with one entry; empty where it is right.
std::string parse_entry(const json& value, int64_t data_bytes, TensorEntry* entry) {
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
    return "is not an object with dtype, shape and data_offsets";
  }
  const json& dtype = value["dtype"];
  const json& shape = value["shape"];
  const json& offsets = value["data_offsets"];
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2) {
    return "has a dtype, shape or data_offsets of another kind";
  }
  entry->dtype = dtype.get<std::string>();
  const int64_t element = dtype_bytes(entry->dtype);
  if (element == 0) return "has the unknown dtype " + entry->dtype;
  if (!as_size(offsets[0], &entry->begin) || !as_size(offsets[1], &entry->end) || entry->begin > entry->end ||
      entry->end > data_bytes) {
    return "has data_offsets " + offsets.dump(-1, ' ', false, json::error_handler_t::replace) + ", outside of the file's " +
           std::to_string(data_bytes) + " data bytes";
  }
  int64_t bytes = element;
  for (const json& d : shape) {
    int64_t n = 0;
    if (!as_size(d, &n) || __builtin_mul_overflow(bytes, n, &bytes)) return "has a shape that is no list of sizes";
    entry->dims.push_back(n);
  }
  if (bytes != entry->end - entry->begin) {
    return "has " + std::to_string(entry->end - entry->begin) + " bytes, its shape and dtype need " + std::to_string(bytes);
  }
  return "";
}

}  // namespace

Result<std::map<std::string, TensorEntry>> parse_safetensors_header(std::span<const std::byte> bytes, int64_t data_bytes,
                                                                    const std::string& file) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const json header = parse_json({text, bytes.size()});
  if (header.is_discarded() || !header.is_object()) {
    return Error{ErrorCode::kData, file + ": the header is not a JSON object; the file is damaged or not safetensors"};
  }
  std::map<std::string, TensorEntry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    TensorEntry entry;
    const std::string wrong = parse_entry(value, data_bytes, &entry);
    if (!wrong.empty()) return Error{ErrorCode::kData, file + ": tensor " + name + " " + wrong};
    entries.emplace(name, std::move(entry));
  }
  return entries;
}

}  // namespace tessera
