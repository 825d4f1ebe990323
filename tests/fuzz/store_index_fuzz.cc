// Feeds bytes to the parser of a store's index; what it accepts must survive being written and parsed again.
#include <cstdlib>

#include "shards/store_index.h"

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  (void)parse_index(bytes, "fuzz", false);
  auto parsed = parse_index(bytes, "fuzz", true);  // as if the checksum matched
  if (!parsed.ok()) return 0;
  const ModelShape& shape = parsed->shape;
  for (Bits bits : shape.bitwidths) must(shape.bytes_of({0, 0}, bits).n > 0);
  must(shape.row_block.n >= row_packing(shape, parsed->exact_type).row_bytes);
  const auto written = serialize_index(*parsed);
  const auto again = parse_index(written, "fuzz", false);
  must(again.ok());
  must(again->shape.shard_bytes == shape.shard_bytes && again->content_hash == parsed->content_hash);
  return 0;
}
