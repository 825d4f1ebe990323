// Feeds bytes to the reader of config.json; a shape that it accepts must divide into slices.
#include <cstdlib>

#include "shards/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  const auto shape = parse_hf_config({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  if (!shape.ok()) return 0;
  const bool sound = shape->heads > 0 && shape->hidden % shape->heads == 0 && shape->ffn % shape->slices == 0 &&
                     !shape->depths.empty() && !shape->widths.empty() && shape->depths.back() <= shape->layers &&
                     shape->widths.back() <= shape->slices && shape->depths[0] >= 1 && shape->widths[0] >= 1;
  if (!sound) std::abort();
  return 0;
}
