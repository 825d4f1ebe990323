// Answers what a model's shape allows and what its pieces weigh.
#include "framework/model_shape.h"

#include <algorithm>

namespace tessera {

int64_t ModelShape::shard_weights() const {
  const int64_t d = hidden;
  return 4 * d * head_width() + 2 * d * ffn_share();
}

Bytes ModelShape::bytes_of(ShardId id, Bits bits) const {
  if (bits != kAbsent && !valid_bits(bits)) return {};
  if (id.layer < 0 || id.layer >= layers || id.slice < 0 || id.slice >= slices) return {};
  const size_t at = (static_cast<size_t>(id.layer) * slices + id.slice) * kBitsLevels + bits_level(bits);
  return at < shard_bytes.size() ? shard_bytes[at] : Bytes{};
}

bool ModelShape::has_bits(Bits bits) const { return std::find(bitwidths.begin(), bitwidths.end(), bits) != bitwidths.end(); }
bool ModelShape::legal_depth(int n) const { return std::find(depths.begin(), depths.end(), n) != depths.end(); }
bool ModelShape::legal_width(int m) const { return std::find(widths.begin(), widths.end(), m) != widths.end(); }

}  // namespace tessera
