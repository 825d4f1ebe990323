// Checks that a checkpoint is one that the operators compute exactly, and reads its dimensions.
#include "shards/hf_config.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "shards/parse_json.h"

namespace tessera {
namespace {

using nlohmann::json;

// Collects the first thing that is wrong while keys are read one after another.
class ConfigReader {
 public:
  ConfigReader(const json& object, const std::string& file) : object_(object), file_(file) {}

  // A positive integer up to `most`; `absent` where the key is missing (0: it must be there).
  int size(const char* key, int most, int absent = 0) {
    if (!object_.contains(key) && absent > 0) return absent;
    if (!object_.contains(key)) return fail(std::string(key) + " is missing"), 1;
    const json& value = object_[key];
    if (!value.is_number_integer() || value < 1 || value > most) {
      return fail(std::string(key) + " is " + dump(value) + "; a whole number from 1 to " + std::to_string(most) +
                  " is expected"),
             1;
    }
    return value.get<int>();
  }
  // The key must be absent or have this value.
  void require(const char* key, const char* value, const std::string& what) {
    if (!object_.contains(key) || object_[key].is_null() || object_[key] == value) return;
    fail(std::string(key) + " is " + dump(object_[key]) + "; only \"" + value + "\" can be imported (" + what + ")");
  }
  void fail(const std::string& what) {
    if (wrong_.empty()) wrong_ = file_ + ": " + what;
  }
  bool failed() const { return !wrong_.empty(); }
  Error error() const { return {ErrorCode::kData, wrong_}; }
  const json& object() const { return object_; }
  static std::string dump(const json& value) {
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > 80) text.resize(80), text += "...";
    return text;
  }

 private:
  const json& object_;
  std::string file_;
  std::string wrong_;
};

void read_kind(ConfigReader& config) {
  config.require("model_type", "bert", "BERT sequence classifiers");
  config.require("hidden_act", "gelu", "the exact, erf-based GELU");
  config.require("position_embedding_type", "absolute", "position rows are added to the embeddings");
  const json& o = config.object();
  if (o.contains("is_decoder") && o["is_decoder"] == true) config.fail("is_decoder is true; only encoders can be imported");
  if (o.contains("architectures") && o["architectures"].is_array() && !o["architectures"].empty() &&
      std::find(o["architectures"].begin(), o["architectures"].end(), "BertForSequenceClassification") ==
          o["architectures"].end()) {
    config.fail("architectures is " + ConfigReader::dump(o["architectures"]) +
                "; only BertForSequenceClassification can be imported");
  }
}

void read_dimensions(ConfigReader& config, ModelShape* shape) {
  shape->layers = config.size("num_hidden_layers", 4096);
  shape->heads = shape->slices = config.size("num_attention_heads", kMaxSlices);
  shape->hidden = config.size("hidden_size", 1 << 16);
  shape->ffn = config.size("intermediate_size", 1 << 20);
  shape->vocab = config.size("vocab_size", 1 << 24);
  shape->max_tokens = config.size("max_position_embeddings", 1 << 20);
  shape->token_types = config.size("type_vocab_size", 1 << 10, 2);
  const auto divides = [&](const char* key, int value) {
    if (value % shape->heads == 0) return;
    config.fail(std::string(key) + " " + std::to_string(value) + " is not divisible by num_attention_heads " +
                std::to_string(shape->heads) + "; a slice is one head and an equal share of the FFN");
  };
  divides("hidden_size", shape->hidden);
  divides("intermediate_size", shape->ffn);
  const json& o = config.object();
  if (!o.contains("layer_norm_eps")) return;
  const json& eps = o["layer_norm_eps"];
  if (!eps.is_number() || !(eps.get<double>() > 0 && eps.get<double>() < 1)) {
    config.fail("layer_norm_eps is " + ConfigReader::dump(eps) + "; a small positive number is expected");
    return;
  }
  shape->layer_norm_eps = eps.get<double>();
}

void read_labels(ConfigReader& config, ModelShape* shape) {
  const json& o = config.object();
  if (!o.contains("id2label") || o["id2label"].is_null()) return;
  const json& names = o["id2label"];
  if (!names.is_object() || names.empty() || names.size() > 65536) {
    return config.fail("id2label is " + ConfigReader::dump(names) + "; an object from id to name is expected");
  }
  shape->labels = static_cast<int>(names.size());
  for (int i = 0; i < shape->labels; ++i) {
    const auto found = names.find(std::to_string(i));
    if (found == names.end() || !found->is_string()) {
      return config.fail("id2label has " + std::to_string(shape->labels) + " entries but no name for id " +
                         std::to_string(i));
    }
    shape->label_names.push_back(found->get<std::string>());
  }
}

// Ascending, each once, in 1..most.
std::vector<int> read_choices(ConfigReader& config, const char* key, int most) {
  const json& elastic = config.object()["elastic"];
  if (!elastic.contains(key)) return {most};
  std::vector<int> choices;
  const json& list = elastic[key];
  if (!list.is_array() || list.empty()) config.fail(std::string("elastic.") + key + " is no list of numbers");
  if (config.failed()) return {most};
  for (const json& value : list) {
    if (!value.is_number_integer() || value < 1 || value > most) {
      config.fail(std::string("elastic.") + key + " holds " + ConfigReader::dump(value) + "; whole numbers from 1 to " +
                  std::to_string(most) + " are expected");
      return {most};
    }
    choices.push_back(value.get<int>());
  }
  std::sort(choices.begin(), choices.end());
  choices.erase(std::unique(choices.begin(), choices.end()), choices.end());
  return choices;
}

}  // namespace

Result<ModelShape> parse_hf_config(std::span<const std::byte> bytes, const std::string& file) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const json object = parse_json({text, bytes.size()});
  if (!object.is_object()) return Error{ErrorCode::kData, file + ": not a JSON object"};
  ConfigReader config(object, file);
  ModelShape shape;
  read_kind(config);
  read_dimensions(config, &shape);
  read_labels(config, &shape);
  shape.depths = {shape.layers};
  shape.widths = {shape.slices};
  const bool elastic = object.contains("elastic") && !object["elastic"].is_null();
  if (elastic && !object["elastic"].is_object()) config.fail("elastic is no object with depths and widths");
  if (elastic && !config.failed()) {
    shape.depths = read_choices(config, "depths", shape.layers);
    shape.widths = read_choices(config, "widths", shape.slices);
  }
  if (config.failed()) return config.error();
  return shape;
}

}  // namespace tessera
