// Feeds bytes to the parser of coded shards and decodes what it accepts: nothing outside of the shard may be touched.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "shards/flat_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  if (size < 4) return 0;
  ModelShape shape;  // the first bytes choose the shape, the bits and the type
  shape.layers = 1;
  shape.heads = shape.slices = 1 + data[0] % 4;
  shape.hidden = shape.heads * (1 + data[1] % 33);
  shape.ffn = shape.heads * (1 + data[2] % 33);
  const auto bits = static_cast<Bits>(1 + data[3] % 8);
  const auto type = static_cast<ElementType>(data[3] / 8 % 3);
  // 64 readable bytes behind, as the format promises; ASan watches what lies beyond.
  std::vector<uint64_t> shard((size - 4 + 64 + 7) / 8);
  std::memcpy(shard.data(), data + 4, size - 4);
  (void)decode_shard(shape, bits, type, reinterpret_cast<const std::byte*>(shard.data()), static_cast<int64_t>(size - 4));
  return 0;
}
