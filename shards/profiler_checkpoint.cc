// Writes and reads partial profiles.
#include "shards/profiler_checkpoint.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include "shards/accuracy_profile.h"
#include "shards/parse_json.h"

namespace tessera {

using Json = nlohmann::json;

ProfileCheckpoint::ProfileCheckpoint(const Store& store, const std::string& task, std::string key)
    : store_(store), file_(task + ".partial.json"), key_(std::move(key)) {}

int64_t ProfileCheckpoint::resume(ProbeList* list) const {
  const std::string path = profile_path(store_, file_);
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return 0;
  std::ifstream in(path, std::ios::binary);
  const Json json = parse_json(std::string{std::istreambuf_iterator<char>(in), {}});
  if (!json.is_object() || !json.contains("key") || json["key"] != key_ || !json.contains("values")) return 0;
  const Json& values = json["values"];
  if (!values.is_array() || values.size() != list->probes.size()) return 0;
  int64_t taken = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i].is_number() || !std::isfinite(values[i].get<double>())) continue;  // null: not measured
    list->probes[i].value = values[i].get<double>();
    list->probes[i].done = true;
    ++taken;
  }
  return taken;
}

Status ProfileCheckpoint::write(const ProbeList& list) const {
  Json values = Json::array();
  for (const Probe& probe : list.probes) values.push_back(probe.done ? Json(probe.value) : Json());
  return write_profile_file(store_, file_, Json{{"key", key_}, {"values", values}}.dump() + "\n");
}

void ProfileCheckpoint::remove() const {
  std::error_code ignored;
  std::filesystem::remove(profile_path(store_, file_), ignored);
}

}  // namespace tessera
