// Writes the seeds of the fuzz targets: SEEDS/<target>/<file>, small real inputs of each.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "shards/flat_codec.h"
#include "tests/support/tiny_model.h"

namespace fs = std::filesystem;
using namespace tessera;  // NOLINT(google-build-using-namespace)
using tessera::testing::slurp;
using tessera::testing::spill;

namespace {

// The golden file's texts, four of each kind, and two edits of the compiled form (tokenizer_fuzz.cc says how).
void write_tokenizer(const std::string& seeds, const std::string& golden) {
  std::map<std::string, int> written;
  const auto cases = nlohmann::json::parse(slurp(golden)).at("cases");
  for (const auto& entry : cases) {
    const std::string kind = entry.at("kind");
    std::string text = std::string(1, '\0') + entry.at("a").get<std::string>();
    if (const auto b = entry.find("b"); b != entry.end() && b->is_string()) text += "\t" + b->get<std::string>();
    if (const int n = written[kind]++; n < 4) spill(seeds + "/" + kind + "-" + std::to_string(n), text);
  }
  spill(seeds + "/header", std::string("\1\x10\0\xFF\x20\0\x01\x30\0\x7F", 10));
  spill(seeds + "/tables", std::string("\1\x80\0\x01\x90\0\xFF\xC0\x01\x41", 10));
}

// What overflows a stack that copies or prints JSON level by level.
std::string deep(const std::string& before) { return before + std::string(8000, '[') + std::string(8000, ']') + "}"; }

// What is described in files of our own, as a stranger's files would be; and what the parser of TOML must not be given.
void write_descriptions(const std::string& seeds, const std::string& configs) {
  std::string nested = "a";
  for (int part = 1; part < 8000; ++part) nested += ".a";
  for (const std::string target : {"platform", "workload", "experiment"}) {
    for (const auto& entry : fs::directory_iterator(configs + "/" + target + "s"))
      if (entry.path().extension() == ".toml")
        spill(seeds + "/" + target + "/" + entry.path().stem().string(), slurp(entry.path().string()));
    spill(seeds + "/" + target + "/letters",
          "\xEF\xBB\xBFname = \"\xC3\xA9\"  # \xC3\xA9\n\xC2\xA7 = '\xC3\xA9' \xE1\xA0\x80\n");
    spill(seeds + "/" + target + "/nested", "[" + nested + "]\n");
  }
  spill(seeds + "/workload/recorded",
        "name = \"r\"\n[[app]]\nname = \"a\"\n[app.arrivals]\nkind = \"recorded\"\n"
        "file = \"my.times\"\n----\n0 s\n1.5 s  # a comment\n2 min\n");
}

int write_model(const std::string& seeds) {
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
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return std::fprintf(stderr, "usage: write_seeds SEEDS SOURCE_DIR\n"), 2;
  const std::string seeds = arguments[1], source = arguments[2];
  for (const char* name : {"store_index", "safetensors", "hf_config", "coded_shard", "tokenizer", "tokenizer_import",
                           "platform", "workload", "experiment"})
    fs::create_directories(seeds + "/" + name);
  write_tokenizer(seeds + "/tokenizer", source + "/tests/golden/tokenizer_golden.json");
  write_descriptions(seeds, source + "/configs");
  spill(seeds + "/tokenizer_import/deep", deep(R"({"normalizer": {"type": )") + "}");
  spill(seeds + "/hf_config/deep", deep(R"({"model_type": )"));
  spill(seeds + "/hf_config/embedded", slurp(source + "/models/minilm6-sst2/config.json"));
  return write_model(seeds);
}
