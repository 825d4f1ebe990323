// Finds a checkpoint's tensors and reads them as fp32.
#include "shards/safetensors.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "shards/codec_elements.h"
#include "shards/parse_json.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMaxHeader = 100'000'000;  // the safetensors format's own limit

std::string join(const std::vector<int64_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

std::vector<std::string> safetensors_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::string& directory) {
  Checkpoint checkpoint;
  checkpoint.directory_ = directory;
  const std::string index = directory + "/model.safetensors.index.json";
  const std::string single = directory + "/model.safetensors";
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) {
    return Error{ErrorCode::kData,
                 directory + ": no such folder; give a Hugging Face folder with config.json and *.safetensors"};
  }
  if (fs::exists(single, ignored)) {
    TESSERA_TRY(checkpoint.open_single(single));
    return checkpoint;
  }
  if (fs::exists(index, ignored)) {
    TESSERA_TRY(checkpoint.open_indexed(directory, index));
    return checkpoint;
  }
  const auto names = safetensors_in(directory);
  if (names.size() == 1) {
    TESSERA_TRY(checkpoint.open_single(directory + "/" + names[0]));
    return checkpoint;
  }
  return Error{ErrorCode::kData, directory + ": " + std::to_string(names.size()) +
                                     " *.safetensors files and no model.safetensors.index.json; save the model with "
                                     "save_pretrained(safe_serialization=True)"};
}

Result<std::map<std::string, TensorEntry>> Checkpoint::add_file(const std::string& path) {
  TESSERA_ASSIGN(OpenedFile file, open_regular(path));
  uint64_t header = 0;
  if (file.bytes < 8)
    return Error{ErrorCode::kData, path + ": " + std::to_string(file.bytes) + " bytes are no safetensors file"};
  TESSERA_TRY(read_fully(file.fd.get(), path, 0, reinterpret_cast<std::byte*>(&header), 8));
  if (header > static_cast<uint64_t>(std::min(kMaxHeader, file.bytes - 8))) {
    return Error{ErrorCode::kData, path + ": a header of " + std::to_string(header) + " bytes in a file of " +
                                       std::to_string(file.bytes) + "; the file is damaged or not safetensors"};
  }
  std::vector<std::byte> json(header);
  TESSERA_TRY(read_fully(file.fd.get(), path, 8, json.data(), static_cast<int64_t>(header)));
  const int64_t data_start = 8 + static_cast<int64_t>(header);
  TESSERA_ASSIGN(auto entries, parse_safetensors_header(json, file.bytes - data_start, path));
  files_.push_back({path, std::move(file.fd), data_start});
  return entries;
}

Status Checkpoint::open_single(const std::string& path) {
  TESSERA_ASSIGN(auto entries, add_file(path));
  for (auto& [name, entry] : entries) tensors_[name] = {0, std::move(entry)};
  return {};
}

Status Checkpoint::open_indexed(const std::string& directory, const std::string& index_path) {
  TESSERA_ASSIGN(const auto bytes, read_file(index_path, kMaxHeader));
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const auto index = parse_json({text, bytes.size()});
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return Error{ErrorCode::kData, index_path + ": no JSON object with a weight_map"};
  }
  std::map<std::string, std::map<std::string, TensorEntry>> files;
  std::map<std::string, size_t> numbers;
  for (const auto& [name, value] : index["weight_map"].items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (file.empty() || file != fs::path(file).filename().string() || file == "..") {
      return Error{ErrorCode::kData, index_path + ": tensor " + name + " is mapped to no file name"};
    }
    if (!files.contains(file)) {
      TESSERA_ASSIGN(files[file], add_file(directory + "/" + file));
      numbers[file] = files_.size() - 1;
    }
    const auto found = files[file].find(name);
    if (found == files[file].end()) {
      return Error{ErrorCode::kData, directory + "/" + file + ": tensor " + name + " of the index is not in it"};
    }
    tensors_[name] = {numbers[file], found->second};
  }
  return {};
}

const std::vector<int64_t>* Checkpoint::dims(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second.entry.dims;
}

Result<const Checkpoint::Located*> Checkpoint::find(const std::string& name, const std::vector<int64_t>& dims) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return Error{ErrorCode::kData, directory_ + ": tensor " + name + " is missing"};
  if (found->second.entry.dims != dims) {
    return Error{ErrorCode::kData, files_[found->second.file].path + ": tensor " + name + " is " +
                                       join(found->second.entry.dims) + ", config.json makes it " + join(dims)};
  }
  return &found->second;
}

Status Checkpoint::check(const std::string& name, const std::vector<int64_t>& dims) const {
  TESSERA_TRY(find(name, dims));
  return {};
}

Result<ElementType> Checkpoint::type(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return Error{ErrorCode::kData, directory_ + ": tensor " + name + " is missing"};
  const std::string& dtype = found->second.entry.dtype;
  if (dtype == "F32") return ElementType::kF32;
  if (dtype == "F16") return ElementType::kF16;
  if (dtype == "BF16") return ElementType::kBf16;
  return Error{ErrorCode::kData, files_[found->second.file].path + ": tensor " + name + " is " + dtype +
                                     "; F32, F16 and BF16 can be imported"};
}

Result<std::vector<float>> Checkpoint::read(const std::string& name, const std::vector<int64_t>& dims) const {
  return read_rows(name, dims, 0, dims.empty() ? 1 : dims[0]);
}

Result<std::vector<float>> Checkpoint::read_rows(const std::string& name, const std::vector<int64_t>& dims, int64_t from,
                                                 int64_t to) const {
  TESSERA_ASSIGN(const Located* tensor, find(name, dims));
  TESSERA_ASSIGN(const ElementType element, type(name));
  int64_t width = 1;  // no overflow: the product with dims[0] was checked against the file's size
  for (size_t i = 1; i < dims.size(); ++i) width *= dims[i];
  const int64_t count = (to - from) * width;
  std::vector<std::byte> stored(static_cast<size_t>(count * element_size(element)));
  const File& file = files_[tensor->file];
  const int64_t offset = file.data_start + tensor->entry.begin + from * width * element_size(element);
  TESSERA_TRY(read_fully(file.fd.get(), file.path, offset, stored.data(), static_cast<int64_t>(stored.size())));
  std::vector<float> values(static_cast<size_t>(count));
  decode_elements(element, stored.data(), count, values.data());
  const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (bad != values.end()) {
    return Error{ErrorCode::kData, file.path + ": tensor " + name + ": element " +
                                       std::to_string(from * width + (bad - values.begin())) + " is not finite"};
  }
  return values;
}

}  // namespace tessera
