// Reads and writes kept predictions as JSON.
#include "shards/evaluation_cache.h"

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <random>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "shards/hash.h"
#include "shards/parse_json.h"
#include "shards/store_io.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int64_t kLargest = int64_t{64} << 20;  // a million sentences
constexpr size_t kNameDigits = 32;
constexpr double kLargestMargin = 1e30;
constexpr const char* kFormat = "tessera evaluation 1";

// Over what the file says, in the form that it is used in.
std::string digest_of(const std::string& key, const Evaluation& evaluation) {
  std::string all = key + '\n';
  all.append(reinterpret_cast<const char*>(evaluation.labels.data()), evaluation.labels.size() * sizeof(int16_t));
  all.append(reinterpret_cast<const char*>(evaluation.margins.data()), evaluation.margins.size() * sizeof(float));
  return key_digest(all);
}

Evaluation nothing(size_t sentences) {
  return {std::vector<int16_t>(sentences, int16_t{-1}), std::vector<float>(sentences, 0.0f)};
}

// A list of as many numbers as `to` holds, from `least` to `most`; whole ones where T is whole.
template <typename T>
bool read_list(const Json& json, const char* name, double least, double most, std::vector<T>& to) {
  if (!json.contains(name) || !json[name].is_array() || json[name].size() != to.size()) return false;
  size_t at = 0;
  for (const Json& value : json[name]) {
    if (std::is_integral_v<T> ? !value.is_number_integer() : !value.is_number()) return false;
    const double number = value.get<double>();
    if (!(number >= least && number <= most)) return false;
    to[at++] = static_cast<T>(number);
  }
  return true;
}

}  // namespace

std::string key_digest(const std::string& key) { return content_digest(std::as_bytes(std::span(key))); }

void merge(const Evaluation& more, Evaluation& to) {
  for (size_t s = 0; s < to.labels.size(); ++s) {
    if (to.labels[s] >= 0 || more.labels[s] < 0) continue;
    to.labels[s] = more.labels[s];
    to.margins[s] = more.margins[s];
  }
}

// In 256 folders: a long sweep has tens of thousands of plans.
std::string EvaluationCache::path(const std::string& key) const {
  const std::string name = key_digest(key);
  return folder_ + "/" + name.substr(0, 2) + "/" + name + ".json";
}

Evaluation EvaluationCache::load(const std::string& key) const {
  Evaluation none = nothing(sentences_);
  if (folder_.empty()) return none;
  const std::string file = path(key);
  std::error_code absent;
  if (!fs::is_regular_file(file, absent)) return none;
  const auto bytes = read_file(file, kLargest);
  if (!bytes.ok()) return none;
  const Json json = parse_json({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat || !json.contains("key") ||
      json["key"] != key)
    return none;
  Evaluation found = none;
  if (!read_list(json, "labels", -1, INT16_MAX, found.labels) ||
      !read_list(json, "margins", 0, kLargestMargin, found.margins))
    return none;
  return json.contains("digest") && json["digest"] == digest_of(key, found) ? found : none;
}

// Of the form that save() writes: "<32 hex digits>.json.<process>-<drawn>-<number>".
static bool is_temporary(const std::string& name) {
  static const std::string suffix = ".json.";
  return name.find_first_not_of("0123456789abcdef") == kNameDigits &&
         name.compare(kNameDigits, suffix.size(), suffix) == 0 &&
         name.find_first_not_of("0123456789-", kNameDigits + suffix.size()) == std::string::npos;
}

// Once a folder. A file is written within moments: nobody is at work on one of yesterday.
void EvaluationCache::sweep(const std::string& folder) {
  if (!swept_.insert(folder).second) return;
  std::error_code failed;
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    if (!is_temporary(at->path().filename().string())) continue;
    std::error_code gone;
    const auto written = fs::last_write_time(at->path(), gone);
    if (!gone && written < yesterday) fs::remove(at->path(), gone);
  }
}

void EvaluationCache::save(const std::string& key, const Evaluation& evaluation) {
  if (folder_.empty()) return;
  Evaluation all = evaluation;
  merge(load(key), all);
  const std::string file = path(key);
  // Of no other process, on this or another machine that shares the folder.
  const std::string temporary = file + "." + std::to_string(::getpid()) + "-" + std::to_string(std::random_device()()) +
                                "-" + std::to_string(++written_);
  const Json json = {
      {"format", kFormat}, {"key", key}, {"labels", all.labels}, {"margins", all.margins}, {"digest", digest_of(key, all)}};
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  const auto attempt = [&]() -> Status {
    std::error_code failed;
    const fs::path folder = fs::path(file).parent_path();
    fs::create_directories(folder, failed);
    sweep(folder.string());
    OwnedFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd.get() < 0) return system_error(temporary, "cannot be created", errno);
    TESSERA_TRY(write_fully(fd.get(), temporary, std::as_bytes(std::span(text))));
    if (!fd.close()) return system_error(temporary, "cannot be written", errno);
    if (::rename(temporary.c_str(), file.c_str()) != 0) return system_error(file, "cannot be replaced", errno);
    return {};
  };
  const Status written = attempt();
  if (written.ok()) return;
  ::unlink(temporary.c_str());
  if (!std::exchange(warned_, true))
    spdlog::warn("{}; measured accuracy is not kept for later runs", written.error().message);
}

}  // namespace tessera
