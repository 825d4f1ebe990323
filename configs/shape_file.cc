// Reads a model's shape from a TOML file.
#include <algorithm>

#include "configs/loader.h"
#include "configs/toml_table.h"

namespace tessera {
namespace {

using configs::TomlTable;

Result<int> dimension(TomlTable& file, std::string_view key, int64_t most) {
  TESSERA_ASSIGN(const int64_t value, file.integer(key, 1, most));
  return static_cast<int>(value);
}

Status read_dimensions(TomlTable& file, ModelShape& shape) {
  TESSERA_ASSIGN(shape.name, file.text("name"));
  TESSERA_ASSIGN(shape.layers, dimension(file, "layers", 1024));
  TESSERA_ASSIGN(shape.slices, dimension(file, "slices", kMaxSlices));
  TESSERA_ASSIGN(shape.hidden, dimension(file, "hidden", 1 << 16));
  shape.heads = shape.slices;  // a slice is one head with its share of the FFN
  TESSERA_ASSIGN(shape.ffn, dimension(file, "ffn", 1 << 18));
  TESSERA_ASSIGN(shape.vocab, dimension(file, "vocab", 1 << 24));
  TESSERA_ASSIGN(shape.max_tokens, dimension(file, "max_tokens", 1 << 15));
  TESSERA_ASSIGN(shape.labels, dimension(file, "labels", 1 << 16));
  for (const auto& [key, value] : {std::pair<const char*, int>{"hidden", shape.hidden}, {"ffn", shape.ffn}}) {
    if (value % shape.slices == 0) continue;
    return file.error(key, std::string(key) + " = " + std::to_string(value) +
                               " must be a multiple of slices = " + std::to_string(shape.slices));
  }
  TESSERA_ASSIGN(shape.label_names, file.texts("label_names"));
  if (!shape.label_names.empty() && static_cast<int>(shape.label_names.size()) != shape.labels) {
    return file.error("label_names", "label_names has " + std::to_string(shape.label_names.size()) +
                                         " names for labels = " + std::to_string(shape.labels));
  }
  return {};
}

// Ascending and without repetition, as ModelShape wants them.
Result<std::vector<int64_t>> ascending(TomlTable& file, std::string_view key, int64_t least, int64_t most) {
  TESSERA_ASSIGN(std::vector<int64_t> values, file.integers(key, least, most));
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

Status read_elasticity(TomlTable& file, ModelShape& shape) {
  TESSERA_ASSIGN(const auto depths, ascending(file, "depths", 1, shape.layers));
  shape.depths.assign(depths.begin(), depths.end());
  TESSERA_ASSIGN(const auto widths, ascending(file, "widths", 1, shape.slices));
  shape.widths.assign(widths.begin(), widths.end());
  TESSERA_ASSIGN(const auto bits, ascending(file, "bitwidths", 1, kExact));
  for (int64_t b : bits) {
    if (!valid_bits(static_cast<int>(b))) {
      return file.error("bitwidths", "bitwidths: " + std::to_string(b) + " is neither 1 to 8 nor 32 (exact)");
    }
    shape.bitwidths.push_back(static_cast<Bits>(b));
  }
  shape.stored_exact_bits = 32;
  if (!file.has("stored_exact_bits")) return {};
  TESSERA_ASSIGN(const int64_t exact, file.integer("stored_exact_bits", 16, 32));
  if (exact != 16 && exact != 32) return file.error("stored_exact_bits", "stored_exact_bits must be 16 or 32");
  shape.stored_exact_bits = static_cast<int>(exact);
  return {};
}

// Weights times bits, each shard padded to a multiple of `padding` (0: not at all).
void set_shard_bytes(ModelShape& shape, Bytes padding) {
  const size_t shards = static_cast<size_t>(shape.layers) * shape.slices;
  shape.shard_bytes.assign(shards * kBitsLevels, {});
  for (Bits b : shape.bitwidths) {
    const int64_t stored = b == kExact ? shape.stored_exact_bits : b;
    const int64_t ideal = (shape.shard_weights() * stored + 7) / 8;
    const int64_t whole = padding.n > 0 ? (ideal + padding.n - 1) / padding.n * padding.n : ideal;
    for (size_t i = 0; i < shards; ++i) shape.shard_bytes[i * kBitsLevels + bits_level(b)] = {whole};
  }
}

Status read_sizes(TomlTable& file, ModelShape& shape) {
  TESSERA_ASSIGN(const Bytes padding, file.bytes("padding", {0}));
  if (padding > mib(1)) return file.error("padding", "padding above 1 MiB");
  set_shard_bytes(shape, padding);
  const Bytes largest = {int64_t{1} << 40};
  TESSERA_ASSIGN(shape.row_block, file.bytes("row_block", {0}));
  TESSERA_ASSIGN(const Bytes exit, file.bytes("exit_bytes", {0}));
  shape.exit_bytes.assign(static_cast<size_t>(shape.layers), exit);
  TESSERA_ASSIGN(shape.resident_bytes, file.bytes("resident_bytes", {0}));
  if (shape.row_block > largest) return file.error("row_block", "row_block above 1 TiB");
  if (exit > largest) return file.error("exit_bytes", "exit_bytes above 1 TiB");
  if (shape.resident_bytes > largest) return file.error("resident_bytes", "resident_bytes above 1 TiB");
  return {};
}

}  // namespace

Result<ModelShape> load_shape(const std::string& path) {
  TESSERA_ASSIGN(const toml::table document, configs::parse_toml(path));
  TomlTable file(document, path);
  ModelShape shape;
  TESSERA_TRY(read_dimensions(file, shape));
  TESSERA_TRY(read_elasticity(file, shape));
  TESSERA_TRY(read_sizes(file, shape));
  TESSERA_TRY(file.finish());
  return shape;
}

}  // namespace tessera
