// Makes small checkpoints and stores for tests: every room's tests start from real files.
#pragma once

#include <string>
#include <vector>

#include "framework/operands.h"
#include "shards/store.h"

namespace tessera::testing {

// A fresh folder under the system's temporary folder, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A BERT classifier with random weights, as Hugging Face would save it.
struct TinyModel {
  int hidden = 32, heads = 4, ffn = 64, layers = 2, vocab = 50, positions = 32, labels = 2;
  ElementType type = ElementType::kF16;
  uint32_t seed = 1;
  std::vector<int> depths = {1, 2};  // exits; empty: no `elastic` section, full depth and width only
  std::vector<int> widths = {1, 2, 3, 4};
  bool prefix = true;  // tensor names start with "bert."
  int files = 1;       // more: an index over several safetensors files
};

// Writes config.json, *.safetensors, vocab.txt and tokenizer_config.json into `directory`. The words are [PAD] [UNK] [CLS]
// [SEP] [MASK], then w5, w6, ... Weights are Gaussian, scaled so that activations stay near 1, with a few outliers.
void write_checkpoint(const std::string& directory, const TinyModel& model = {});

// A checkpoint at folder/"checkpoint" and its store at folder/"store". Aborts with the message where that fails.
struct TinyStore {
  TemporaryFolder folder;
  std::string checkpoint, directory;
  std::unique_ptr<Store> store;
};
TinyStore make_tiny_store(const TinyModel& model = {}, const std::vector<Bits>& bitwidths = {1, 2, 3, 4, 5, 6, kExact});

// The whole of a file; and writes one.
std::string slurp(const std::string& path);
void spill(const std::string& path, const std::string& bytes);

}  // namespace tessera::testing
