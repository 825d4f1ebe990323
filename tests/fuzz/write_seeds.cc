// Writes the seeds of the fuzz targets: SEEDS/<target>/<file>, small real inputs of each.
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "shards/flat_codec.h"
#include "tests/support/tiny_model.h"

namespace fs = std::filesystem;
using namespace tessera;  // NOLINT(google-build-using-namespace)
using tessera::testing::slurp;
using tessera::testing::spill;

int main(int count, char** arguments) {
  if (count < 3) return std::fprintf(stderr, "usage: write_seeds SEEDS CHECKPOINT\n"), 2;
  const std::string seeds = arguments[1], checkpoint = arguments[2];
  for (const char* name : {"store_index", "safetensors", "hf_config", "coded_shard"})
    fs::create_directories(seeds + "/" + name);
  testing::TinyModel model;
  model.layers = 1;
  model.depths = {1};
  for (const ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBf16}) {
    model.type = type;
    const testing::TinyStore tiny = testing::make_tiny_store(model, {1, 4, kExact});
    const std::string number = std::to_string(static_cast<int>(type));
    spill(seeds + "/store_index/" + number, slurp(tiny.directory + "/index"));
    spill(seeds + "/hf_config/" + number, slurp(tiny.checkpoint + "/config.json"));
    const std::string tensors = slurp(tiny.checkpoint + "/model.safetensors");
    uint64_t header = 0;
    std::memcpy(&header, tensors.data(), 8);
    spill(seeds + "/safetensors/" + number, tensors.substr(8, header));
    for (Bits bits : {1, 4}) {
      const Extent extent = tiny.store->shard({0, 0}, bits);
      std::string bytes(4 + static_cast<size_t>(extent.length), '\0');
      if (!tiny.store->read(extent, reinterpret_cast<std::byte*>(bytes.data() + 4)).ok()) return 1;
      bytes.resize(4 + static_cast<size_t>(extent.payload));
      bytes[0] = 3, bytes[1] = 7, bytes[2] = 15, bytes[3] = static_cast<char>(bits - 1 + 8 * static_cast<int>(type));
      spill(seeds + "/coded_shard/" + number + "-" + std::to_string(bits), bytes);
    }
  }
  spill(seeds + "/hf_config/embedded", slurp(checkpoint + "/config.json"));
  return 0;
}
