// Writes checkpoints with random weights; deterministic for a seed on every machine.
#include "tests/support/tiny_model.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "shards/codec_elements.h"

namespace tessera::testing {
namespace {

using nlohmann::json;

// splitmix64, and a sum of uniforms for Gaussians: std::normal_distribution differs between standard libraries.
struct Random {
  uint64_t state;
  double uniform() {
    state += 0x9E3779B97F4A7C15ull;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<double>((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
  }
  double gaussian() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
};

struct Tensor {
  std::string name;
  std::vector<int64_t> dims;
  std::vector<float> values;
};

class Builder {
 public:
  explicit Builder(const TinyModel& model) : random_{model.seed}, prefix_(model.prefix ? "bert." : "") {}
  void matrix(const std::string& name, int out, int in, double scale) {
    Tensor t{name, {out, in}, {}};
    for (int i = 0; i < out * in; ++i) t.values.push_back(static_cast<float>(scale * random_.gaussian()));
    if (t.values.size() > 64) t.values[t.values.size() / 3] = static_cast<float>(scale * 8);
    tensors.push_back(std::move(t));
  }
  void vector(const std::string& name, int n, double mean, double scale) {
    Tensor t{name, {n}, {}};
    for (int i = 0; i < n; ++i) t.values.push_back(static_cast<float>(mean + scale * random_.gaussian()));
    tensors.push_back(std::move(t));
  }
  void norm(const std::string& at, int d) {
    vector(at + "LayerNorm.weight", d, 1, 0.05);
    vector(at + "LayerNorm.bias", d, 0, 0.05);
  }
  void linear(const std::string& at, int out, int in) {
    matrix(at + "weight", out, in, 1 / std::sqrt(static_cast<double>(in)));
    vector(at + "bias", out, 0, 0.05);
  }
  std::string in_bert(const std::string& name) const { return prefix_ + name; }
  std::vector<Tensor> tensors;

 private:
  Random random_;
  std::string prefix_;
};

std::vector<Tensor> tensors_of(const TinyModel& m) {
  Builder b(m);
  const std::string embeddings = b.in_bert("embeddings.");
  b.matrix(embeddings + "word_embeddings.weight", m.vocab, m.hidden, 0.5);
  b.matrix(embeddings + "position_embeddings.weight", m.positions, m.hidden, 0.3);
  b.matrix(embeddings + "token_type_embeddings.weight", 2, m.hidden, 0.3);
  b.norm(embeddings, m.hidden);
  for (int l = 0; l < m.layers; ++l) {
    const std::string at = b.in_bert("encoder.layer." + std::to_string(l) + ".");
    for (const char* part : {"query.", "key.", "value."}) b.linear(at + "attention.self." + part, m.hidden, m.hidden);
    b.linear(at + "attention.output.dense.", m.hidden, m.hidden);
    b.norm(at + "attention.output.", m.hidden);
    b.linear(at + "intermediate.dense.", m.ffn, m.hidden);
    b.linear(at + "output.dense.", m.hidden, m.ffn);
    b.norm(at + "output.", m.hidden);
  }
  b.linear(b.in_bert("pooler.dense."), m.hidden, m.hidden);
  b.linear("classifier.", m.labels, m.hidden);
  for (int depth : m.depths) {
    if (depth == m.layers) continue;
    const std::string at = "exits." + std::to_string(depth) + ".";
    b.linear(at + "pooler.dense.", m.hidden, m.hidden);
    b.linear(at + "classifier.", m.labels, m.hidden);
  }
  return std::move(b.tensors);
}

void write_safetensors(const std::string& path, const std::vector<const Tensor*>& tensors, ElementType type) {
  static const char* const kNames[] = {"F32", "F16", "BF16"};
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const Tensor* t : tensors) {
    const size_t begin = data.size();
    data.resize(begin + t->values.size() * element_size(type));
    encode_elements(type, t->values.data(), static_cast<int64_t>(t->values.size()),
                    reinterpret_cast<std::byte*>(data.data()) + begin);
    header[t->name] = {
        {"dtype", kNames[static_cast<int>(type)]}, {"shape", t->dims}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::string head(8, '\0');
  std::memcpy(head.data(), &size, 8);
  spill(path, head + text + data);
}

json config_of(const TinyModel& m) {
  json config = {{"architectures", {"BertForSequenceClassification"}},
                 {"model_type", "bert"},
                 {"hidden_act", "gelu"},
                 {"hidden_size", m.hidden},
                 {"num_attention_heads", m.heads},
                 {"intermediate_size", m.ffn},
                 {"num_hidden_layers", m.layers},
                 {"vocab_size", m.vocab},
                 {"max_position_embeddings", m.positions},
                 {"type_vocab_size", 2},
                 {"layer_norm_eps", 1e-12},
                 {"position_embedding_type", "absolute"}};
  for (int i = 0; i < m.labels; ++i) config["id2label"][std::to_string(i)] = "label-" + std::to_string(i);
  if (!m.depths.empty()) config["elastic"] = {{"depths", m.depths}, {"widths", m.widths}, {"exits", true}};
  return config;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  path_ = (std::filesystem::temp_directory_path() / "tessera-test-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr) {
    std::perror(path_.c_str());
    std::abort();
  }
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}
TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

void spill(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) {
    std::perror(path.c_str());
    std::abort();
  }
}

void write_checkpoint(const std::string& directory, const TinyModel& model) {
  std::filesystem::create_directories(directory);
  const std::vector<Tensor> tensors = tensors_of(model);
  spill(directory + "/config.json", config_of(model).dump(2));
  std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < model.vocab; ++i) words += "w" + std::to_string(i) + "\n";
  spill(directory + "/vocab.txt", words);
  spill(directory + "/tokenizer_config.json", json({{"do_lower_case", true}}).dump());
  json index = {{"metadata", json::object()}, {"weight_map", json::object()}};
  for (int f = 0; f < model.files; ++f) {
    std::vector<const Tensor*> part;
    const std::string name = model.files == 1 ? "model.safetensors" : "model-" + std::to_string(f) + ".safetensors";
    for (size_t i = static_cast<size_t>(f); i < tensors.size(); i += static_cast<size_t>(model.files)) {
      part.push_back(&tensors[i]);
      index["weight_map"][tensors[i].name] = name;
    }
    write_safetensors(directory + "/" + name, part, model.type);
  }
  if (model.files > 1) spill(directory + "/model.safetensors.index.json", index.dump(2));
}

TinyStore make_tiny_store(const TinyModel& model, const std::vector<Bits>& bitwidths) {
  TinyStore tiny;
  tiny.checkpoint = tiny.folder / "checkpoint";
  tiny.directory = tiny.folder / "store";
  write_checkpoint(tiny.checkpoint, model);
  ShardOptions options;
  options.bitwidths = bitwidths;
  options.name = "tiny";
  const auto made = make_store(tiny.checkpoint, tiny.directory, options);
  auto opened = made.ok() ? Store::open(tiny.directory) : Result<std::unique_ptr<Store>>(made.error());
  if (!opened.ok()) {
    std::fprintf(stderr, "make_tiny_store: %s\n", opened.error().message.c_str());
    std::abort();
  }
  tiny.store = opened.take();
  return tiny;
}

}  // namespace tessera::testing
