// Feeds a checkpoint's tokenizer files to their importer: they are refused, or make a tokenizer that stays in its bounds.
//
//   {...      a tokenizer.json
//   else      a vocab.txt and, behind the first byte 0, a tokenizer_config.json
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <unistd.h>

#include "shards/tokenizer.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace)
namespace fs = std::filesystem;

// One folder a process: libFuzzer's jobs run side by side.
struct Folder {
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  void spill(const char* file, std::string_view bytes) const {
    std::ofstream(path + file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  void clear() const {
    for (const char* file : {"tokenizer.json", "tokenizer_config.json", "vocab.txt"}) fs::remove(path + file);
  }
  const std::string path = fs::temp_directory_path() / ("tessera-fuzz-" + std::to_string(::getpid())) / "";
};

void write_files(const Folder& folder, std::string_view input) {
  folder.clear();
  if (input.starts_with('{')) return folder.spill("tokenizer.json", input);
  const size_t end = input.find('\0');
  folder.spill("vocab.txt", input.substr(0, end));
  if (end != std::string_view::npos) folder.spill("tokenizer_config.json", input.substr(end + 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  write_files(folder, {reinterpret_cast<const char*>(data), size});
  const auto tokenizer = Tokenizer::from_hf(folder.path);
  if (!tokenizer.ok()) return 0;
  for (const int most : {3, 64}) {
    const Encoding e = (*tokenizer)->encode_pair("Ab ba [MASK]!", "\xC3\xA9\xE4\xB8\x80 abba \xFF", most);
    if (e.tokens() > most || e.types.size() != e.ids.size()) std::abort();
    for (const int32_t id : e.ids) {
      if (id < 0 || id >= (*tokenizer)->vocabulary_size()) std::abort();
    }
  }
  return 0;
}
