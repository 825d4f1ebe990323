// Feeds bytes to the parser of a safetensors header; every tensor it accepts must lie in the file.
#include <cstdlib>

#include "shards/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto data_bytes = static_cast<int64_t>(size) * 1000;
  const auto parsed = parse_safetensors_header(bytes, data_bytes, "fuzz");
  if (!parsed.ok()) return 0;
  for (const auto& [name, entry] : *parsed) {
    if (entry.begin < 0 || entry.end < entry.begin || entry.end > data_bytes) std::abort();
    for (const int64_t d : entry.dims) {
      if (d < 0) std::abort();
    }
  }
  return 0;
}
