// Maps a BERT classifier's tensor names to layers, rows, residents and exits.
#include "shards/import_bert.h"

#include <filesystem>

#include "shards/hf_config.h"
#include "shards/store_io.h"

namespace tessera {
namespace {

constexpr int64_t kMaxConfig = 16 << 20;  // bytes of config.json; label names are what makes it long

std::string layer_name(int l) { return "encoder.layer." + std::to_string(l) + "."; }

}  // namespace

Result<BertCheckpoint> BertCheckpoint::open(const std::string& directory) {
  TESSERA_ASSIGN(Checkpoint files, Checkpoint::open(directory));
  BertCheckpoint bert(std::move(files));
  const std::string config = directory + "/config.json";
  TESSERA_ASSIGN(const auto json, read_file(config, kMaxConfig));
  TESSERA_ASSIGN(bert.shape_, parse_hf_config(json, config));
  TESSERA_TRY(bert.settle_labels(directory));
  TESSERA_TRY(bert.check_tensors());
  return bert;
}

// The classifier's rows decide; names that config.json leaves out are LABEL_i, as Hugging Face calls them.
Status BertCheckpoint::settle_labels(const std::string& directory) {
  const std::vector<int64_t>* dims = checkpoint_.dims("classifier.weight");
  if (!dims) {
    return Error{ErrorCode::kData,
                 directory + ": tensor classifier.weight is missing; fine-tune the model for classification"};
  }
  const int64_t labels = dims->empty() ? 0 : (*dims)[0];
  if (labels < 1 || labels > 65536 || (shape_.labels != 0 && shape_.labels != labels)) {
    return Error{ErrorCode::kData, directory + ": classifier.weight has " + std::to_string(labels) +
                                       " rows, id2label names " + std::to_string(shape_.labels) + " labels"};
  }
  shape_.labels = static_cast<int>(labels);
  for (int i = static_cast<int>(shape_.label_names.size()); i < shape_.labels; ++i) {
    shape_.label_names.push_back("LABEL_" + std::to_string(i));
  }
  return {};
}

std::string BertCheckpoint::spelled(const std::string& name) const {
  std::vector<std::string> spellings = {name};
  const auto norm = name.rfind("LayerNorm.");
  if (norm != std::string::npos) {
    spellings.push_back(name.substr(0, norm) + (name.ends_with("weight") ? "LayerNorm.gamma" : "LayerNorm.beta"));
  }
  for (const std::string& spelling : spellings) {
    if (checkpoint_.has("bert." + spelling)) return "bert." + spelling;
    if (checkpoint_.has(spelling)) return spelling;
  }
  return "bert." + name;
}

std::vector<BertCheckpoint::Tensor> BertCheckpoint::layer_tensors(int l) const {
  const int64_t d = shape_.hidden, f = shape_.ffn;
  const std::string at = layer_name(l);
  return {{spelled(at + "attention.self.query.weight"), {d, d}}, {spelled(at + "attention.self.key.weight"), {d, d}},
          {spelled(at + "attention.self.value.weight"), {d, d}}, {spelled(at + "attention.output.dense.weight"), {d, d}},
          {spelled(at + "intermediate.dense.weight"), {f, d}},   {spelled(at + "output.dense.weight"), {d, f}}};
}

std::vector<BertCheckpoint::Tensor> BertCheckpoint::exit_tensors(int depth) const {
  const int64_t d = shape_.hidden, labels = shape_.labels;
  const bool last = depth == shape_.layers;
  const std::string at = "exits." + std::to_string(depth) + ".";
  return {{last ? spelled("pooler.dense.weight") : at + "pooler.dense.weight", {d, d}},
          {last ? spelled("pooler.dense.bias") : at + "pooler.dense.bias", {d}},
          {last ? "classifier.weight" : at + "classifier.weight", {labels, d}},
          {last ? "classifier.bias" : at + "classifier.bias", {labels}}};
}

std::vector<BertCheckpoint::Tensor> BertCheckpoint::resident_tensors() const {
  const int64_t d = shape_.hidden, f = shape_.ffn;
  std::vector<Tensor> tensors = {{spelled("embeddings.token_type_embeddings.weight"), {shape_.token_types, d}},
                                 {spelled("embeddings.LayerNorm.weight"), {d}},
                                 {spelled("embeddings.LayerNorm.bias"), {d}}};
  for (int l = 0; l < shape_.layers; ++l) {
    const std::string at = layer_name(l);
    tensors.push_back({spelled(at + "attention.self.query.bias"), {d}});
    tensors.push_back({spelled(at + "attention.self.key.bias"), {d}});
    tensors.push_back({spelled(at + "attention.self.value.bias"), {d}});
    tensors.push_back({spelled(at + "attention.output.dense.bias"), {d}});
    tensors.push_back({spelled(at + "attention.output.LayerNorm.weight"), {d}});
    tensors.push_back({spelled(at + "attention.output.LayerNorm.bias"), {d}});
    tensors.push_back({spelled(at + "intermediate.dense.bias"), {f}});
    tensors.push_back({spelled(at + "output.dense.bias"), {d}});
    tensors.push_back({spelled(at + "output.LayerNorm.weight"), {d}});
    tensors.push_back({spelled(at + "output.LayerNorm.bias"), {d}});
  }
  return tensors;
}

BertCheckpoint::Tensor BertCheckpoint::word_tensor() const {
  return {spelled("embeddings.word_embeddings.weight"), {shape_.vocab, shape_.hidden}};
}

BertCheckpoint::Tensor BertCheckpoint::position_tensor() const {
  return {spelled("embeddings.position_embeddings.weight"), {shape_.max_tokens, shape_.hidden}};
}

// Everything is looked at before anything is written; the values are checked as they are read.
Status BertCheckpoint::check_tensors() {
  std::vector<Tensor> stored = {word_tensor(), position_tensor()};
  for (int l = 0; l < shape_.layers; ++l) {
    for (Tensor& t : layer_tensors(l)) stored.push_back(std::move(t));
  }
  for (int depth : shape_.depths) {
    for (Tensor& t : exit_tensors(depth)) stored.push_back(std::move(t));
  }
  bool first = true;
  for (const Tensor& t : stored) {
    TESSERA_TRY(checkpoint_.check(t.name, t.dims));
    TESSERA_ASSIGN(const ElementType type, checkpoint_.type(t.name));
    exact_type_ = first || type == exact_type_ ? type : ElementType::kF32;
    first = false;
  }
  for (const Tensor& t : resident_tensors()) {
    TESSERA_TRY(checkpoint_.check(t.name, t.dims));
    TESSERA_TRY(checkpoint_.type(t.name));
  }
  return {};
}

Result<std::vector<float>> BertCheckpoint::read(const Tensor& tensor) const {
  return checkpoint_.read(tensor.name, tensor.dims);
}

Result<DenseLayer> BertCheckpoint::layer(int l) const {
  DenseLayer layer;
  const std::vector<Tensor> tensors = layer_tensors(l);
  for (int i = 0; i < kMatrixCount; ++i) { TESSERA_ASSIGN(layer[i], read(tensors[i])); }
  return layer;
}

Result<DenseExit> BertCheckpoint::exit(int depth) const {
  const std::vector<Tensor> tensors = exit_tensors(depth);
  DenseExit exit;
  TESSERA_ASSIGN(exit.pooler_weight, read(tensors[0]));
  TESSERA_ASSIGN(exit.pooler_bias, read(tensors[1]));
  TESSERA_ASSIGN(exit.classifier_weight, read(tensors[2]));
  TESSERA_ASSIGN(exit.classifier_bias, read(tensors[3]));
  return exit;
}

Result<std::vector<float>> BertCheckpoint::word_rows(int from, int to) const {
  return checkpoint_.read_rows(word_tensor().name, word_tensor().dims, from, to);
}

Result<std::vector<float>> BertCheckpoint::position_rows(int from, int to) const {
  return checkpoint_.read_rows(position_tensor().name, position_tensor().dims, from, to);
}

Result<std::vector<std::vector<float>>> BertCheckpoint::residents() const {
  std::vector<std::vector<float>> values;
  for (const Tensor& t : resident_tensors()) { TESSERA_ASSIGN(values.emplace_back(), read(t)); }
  return values;
}

}  // namespace tessera
