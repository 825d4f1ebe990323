// Reads a Hugging Face checkpoint's tokenizer: tokenizer.json where it is there, else vocab.txt and tokenizer_config.json.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "shards/parse_json.h"
#include "shards/tokenizer_blob.h"

namespace tessera {
namespace {

using Json = nlohmann::json;
constexpr uintmax_t kMaxFile = uintmax_t{1} << 28;
constexpr int64_t kMaxId = 1 << 23;  // far above any BERT vocabulary; keeps a forged id from filling the memory

Error bad(const std::string& path, const std::string& what) { return {ErrorCode::kData, path + ": " + what}; }

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

Result<std::string> read_text(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return bad(path, "cannot be read: " + error.message());
  if (size > kMaxFile) return bad(path, "has " + std::to_string(size) + " bytes; a tokenizer file has at most 256 MiB");
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad() || text.size() != size) return bad(path, "cannot be read to its end");
  return text;
}

Result<Json> read_json(const std::string& path) {
  TESSERA_ASSIGN(const std::string text, read_text(path));
  Json json = parse_json(text);
  if (json.is_discarded() || !json.is_object()) return bad(path, "is not a JSON object; export the tokenizer again");
  return json;
}

// A field with its type checked: absent and null leave `to` as it is.
template <typename T>
Status take(const Json& from, const char* key, const std::string& path, T* to) {
  const auto at = from.find(key);
  if (at == from.end() || at->is_null()) return {};
  const bool fits = std::is_same_v<T, bool> ? at->is_boolean() : std::is_same_v<T, std::string> ? at->is_string() : false;
  if (!fits) {
    return bad(path, std::string("'") + key + "' is " + at->type_name() + ", expected " +
                         (std::is_same_v<T, bool> ? "boolean" : "string"));
  }
  *to = at->get<T>();
  return {};
}

Status take_id(const Json& value, const std::string& what, const std::string& path, int32_t* to) {
  if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() >= static_cast<double>(kMaxId))
    return bad(path, what + " has id " + value.dump() + "; expected an integer from 0 to 8388607");
  *to = value.get<int32_t>();
  return {};
}

// Line numbers are ids; trailing white space does not count (the `tokenizers` library trims it).
Status read_vocabulary(const std::string& path, std::vector<std::string>* vocabulary) {
  TESSERA_ASSIGN(const std::string text, read_text(path));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string token = text.substr(begin, end - begin);
    token.erase(token.find_last_not_of(" \t\r\v\f") + 1);
    vocabulary->push_back(std::move(token));
    begin = end + 1;
    if (vocabulary->size() > static_cast<size_t>(kMaxId)) return bad(path, "has more than 8388608 lines");
  }
  if (vocabulary->empty()) return bad(path, "is empty; expected one token a line");
  return {};
}

Status place(const std::string& path, const std::string& token, int32_t id, std::vector<std::string>* vocabulary) {
  if (static_cast<size_t>(id) >= vocabulary->size()) vocabulary->resize(static_cast<size_t>(id) + 1);
  std::string& place = (*vocabulary)[static_cast<size_t>(id)];
  if (!place.empty() && place != token)
    return bad(path, "id " + std::to_string(id) + " is given to '" + place + "' and to '" + token + "'");
  place = token;
  return {};
}

Status read_model(const Json& model, const std::string& path, TokenizerSpec* spec) {
  std::string type = "WordPiece";
  TESSERA_TRY(take(model, "type", path, &type));
  if (type != "WordPiece") return bad(path, "model is " + type + "; only WordPiece is supported");
  TESSERA_TRY(take(model, "unk_token", path, &spec->config.unk));
  TESSERA_TRY(take(model, "continuing_subword_prefix", path, &spec->config.continuation));
  if (const auto limit = model.find("max_input_chars_per_word"); limit != model.end())
    TESSERA_TRY(take_id(*limit, "max_input_chars_per_word", path, &spec->config.max_characters_per_word));
  const auto vocabulary = model.find("vocab");
  if (vocabulary == model.end() || !vocabulary->is_object()) return bad(path, "model.vocab is not an object of token to id");
  for (const auto& [token, value] : vocabulary->items()) {
    int32_t id = 0;
    TESSERA_TRY(take_id(value, "token '" + token + "'", path, &id));
    TESSERA_TRY(place(path, token, id, &spec->vocabulary));
  }
  return {};
}

Status read_normalizer(const Json& json, const std::string& path, TokenizerConfig* config) {
  const auto at = json.find("normalizer");
  const auto pre = json.find("pre_tokenizer");
  const auto type_of = [&](auto it) {
    return it != json.end() && it->is_object() ? it->value("type", Json("none")) : Json("none");
  };
  if (type_of(at) != "BertNormalizer" || type_of(pre) != "BertPreTokenizer")
    return bad(path, "normalizer " + type_of(at).dump() + " and pre_tokenizer " + type_of(pre).dump() +
                         " are not supported; expected BertNormalizer and BertPreTokenizer");
  TESSERA_TRY(take(*at, "clean_text", path, &config->clean_text));
  TESSERA_TRY(take(*at, "handle_chinese_chars", path, &config->chinese_characters));
  TESSERA_TRY(take(*at, "lowercase", path, &config->lowercase));
  config->strip_accents = config->lowercase;
  return take(*at, "strip_accents", path, &config->strip_accents);
}

Status read_added_token(const Json& entry, const std::string& path, TokenizerSpec* spec) {
  if (!entry.is_object() || !entry.contains("id")) return bad(path, "an entry of added_tokens is not {id, content, ...}");
  AddedToken token;
  TESSERA_TRY(take(entry, "content", path, &token.content));
  TESSERA_TRY(take_id(entry["id"], "added token '" + token.content + "'", path, &token.id));
  TESSERA_TRY(take(entry, "single_word", path, &token.single_word));
  TESSERA_TRY(take(entry, "lstrip", path, &token.strip_left));
  TESSERA_TRY(take(entry, "rstrip", path, &token.strip_right));
  TESSERA_TRY(take(entry, "normalized", path, &token.normalized));
  if (token.content.empty()) return {};  // matches nothing
  TESSERA_TRY(place(path, token.content, token.id, &spec->vocabulary));
  spec->added.push_back(std::move(token));
  return {};
}

// The names of [CLS] and [SEP] from a BertProcessing; TemplateProcessing's are found in its template.
Status read_processor(const Json& json, const std::string& path, TokenizerConfig* config) {
  const auto at = json.find("post_processor");
  if (at == json.end() || at->is_null()) return {};
  if (!at->is_object()) return bad(path, "post_processor is not an object");
  const Json type = at->value("type", Json("none"));
  if (type == "BertProcessing") {
    for (const auto& [key, name] : {std::pair{"cls", &config->cls}, std::pair{"sep", &config->sep}}) {
      const auto pair = at->find(key);
      if (pair == at->end() || !pair->is_array() || pair->empty() || !pair->front().is_string())
        return bad(path, std::string("post_processor.") + key + " is not [token, id]");
      *name = pair->front().get<std::string>();
    }
    return {};
  }
  if (type != "TemplateProcessing")
    return bad(path, "post_processor " + type.dump() + " is not supported; expected BertProcessing or TemplateProcessing");
  const Json single = at->value("single", Json::array());
  const auto special = [&](size_t i) {
    const Json pointer = single[i].is_object() ? single[i].value("SpecialToken", Json::object()) : Json::object();
    return pointer.is_object() ? pointer.value("id", Json()) : Json();
  };
  if (!single.is_array() || single.size() != 3 || !special(0).is_string() || !special(2).is_string())
    return bad(path, "post_processor.single is not [CLS] A [SEP]; other templates are not supported");
  config->cls = special(0).get<std::string>();
  config->sep = special(2).get<std::string>();
  return {};
}

Status read_tokenizer_json(const std::string& path, TokenizerSpec* spec) {
  TESSERA_ASSIGN(const Json json, read_json(path));
  const auto model = json.find("model");
  if (model == json.end() || !model->is_object()) return bad(path, "has no 'model'; export the tokenizer again");
  TESSERA_TRY(read_model(*model, path, spec));
  TESSERA_TRY(read_normalizer(json, path, &spec->config));
  TESSERA_TRY(read_processor(json, path, &spec->config));
  if (const auto added = json.find("added_tokens"); added != json.end()) {
    if (!added->is_array()) return bad(path, "added_tokens is not an array");
    for (const Json& entry : *added) TESSERA_TRY(read_added_token(entry, path, spec));
  }
  return {};
}

Status read_tokenizer_config(const std::string& path, TokenizerConfig* config) {
  TESSERA_ASSIGN(const Json json, read_json(path));
  TESSERA_TRY(take(json, "do_lower_case", path, &config->lowercase));
  TESSERA_TRY(take(json, "tokenize_chinese_chars", path, &config->chinese_characters));
  config->strip_accents = config->lowercase;
  TESSERA_TRY(take(json, "strip_accents", path, &config->strip_accents));
  const std::pair<const char*, std::string*> names[] = {{"unk_token", &config->unk},
                                                        {"cls_token", &config->cls},
                                                        {"sep_token", &config->sep},
                                                        {"pad_token", &config->pad},
                                                        {"mask_token", &config->mask}};
  for (const auto& [key, name] : names) {
    // Older files hold {"content": "[CLS]", ...} instead of the text.
    const auto at = json.find(key);
    if (at == json.end()) continue;
    TESSERA_TRY(at->is_object() ? take(*at, "content", path, name) : take(json, key, path, name));
  }
  return {};
}

// Without tokenizer.json the fast tokenizer recognises the five special tokens in the text.
void add_special_tokens(TokenizerSpec* spec) {
  const TokenizerConfig& c = spec->config;
  for (const std::string* name : {&c.pad, &c.unk, &c.cls, &c.sep, &c.mask}) {
    const auto at = std::find(spec->vocabulary.rbegin(), spec->vocabulary.rend(), *name);
    if (name->empty() || at == spec->vocabulary.rend()) continue;
    AddedToken token;
    token.content = *name;
    token.id = static_cast<int32_t>(spec->vocabulary.rend() - at) - 1;
    spec->added.push_back(std::move(token));
  }
}

}  // namespace

Result<TokenizerSpec> import_tokenizer(const std::string& directory) {
  const std::string vocabulary = directory + "/vocab.txt", full = directory + "/tokenizer.json",
                    config = directory + "/tokenizer_config.json";
  TokenizerSpec spec;
  if (is_file(full)) {
    TESSERA_TRY(read_tokenizer_json(full, &spec));
    return spec;
  }
  if (is_file(config)) TESSERA_TRY(read_tokenizer_config(config, &spec.config));
  if (!is_file(vocabulary))
    return Error{ErrorCode::kData, directory + ": has neither vocab.txt nor tokenizer.json; a BERT checkpoint needs one"};
  TESSERA_TRY(read_vocabulary(vocabulary, &spec.vocabulary));
  add_special_tokens(&spec);
  return spec;
}

}  // namespace tessera
