// Reads the folders of shards and puts their rows together.
#include <filesystem>
#include <fstream>

#include <spdlog/spdlog.h>

#include "tools/atomic_file.h"
#include "tools/compare_conclude.h"
#include "tools/exit_codes.h"

namespace tessera {
namespace fs = std::filesystem;
namespace {

struct Parsed {
  Experiment experiment;
  Ingredients ingredients;
};

Bytes bytes_of(const Json& json) { return json.is_null() ? kUnlimited : Bytes{json.get<int64_t>()}; }
Duration duration_of(const Json& json) { return json.is_null() ? kForever : from_ms(json.get<double>()); }

Contender contender_of(const Json& json) {
  Contender c;
  c.policy = json.at("policy").get<std::string>();
  c.label = json.at("label").get<std::string>();
  for (const auto& [name, value] : json.at("knobs").items()) c.knobs[name] = value.get<std::string>();
  if (json.contains("depth")) c.depth = json.at("depth").get<int>();
  if (json.contains("width")) c.width = json.at("width").get<int>();
  if (json.contains("bits")) c.bits = static_cast<Bits>(json.at("bits").get<int>());
  if (json.contains("quantile")) c.quantile = json.at("quantile").get<double>();
  if (json.contains("preload_bytes")) c.preload = bytes_of(json.at("preload_bytes"));
  return c;
}

Arena arena_of_json(const Json& json) {
  Arena a;
  a.name = json.at("name").get<std::string>();
  a.platform = json.at("file").get<std::string>();
  a.model = json.at("model").get<std::string>();
  a.shape = json.at("shape").get<std::string>();
  a.io_speed = json.at("io_speed").get<double>();
  for (const Json& value : json.at("latencies_ms")) a.latencies.push_back(duration_of(value));
  for (const Json& value : json.at("memories_bytes")) a.memories.push_back(bytes_of(value));
  for (const Json& value : json.at("preloads_bytes")) a.preloads.push_back(bytes_of(value));
  return a;
}

Parsed parse(const Json& json) {
  Parsed out;
  Experiment& e = out.experiment;
  e.workloads.clear();
  for (const Json& one : json.at("policies")) {
    e.contenders.push_back(contender_of(one));
    out.ingredients.contenders.push_back(one.at("content").get<std::string>());
  }
  for (const Json& one : json.at("platforms")) {
    e.arenas.push_back(arena_of_json(one));
    out.ingredients.arenas.push_back(one.at("content").get<std::string>());
  }
  for (const Json& one : json.at("workloads")) {
    e.workloads.push_back(one.at("file").get<std::string>());
    out.ingredients.workloads.push_back(one.at("content").get<std::string>());
  }
  e.name = json.at("name").get<std::string>();
  e.title = json.at("title").get<std::string>();
  e.seeds = json.at("seeds").get<std::vector<uint64_t>>();
  e.data = json.at("data").at("file").get<std::string>();
  out.ingredients.data = json.at("data").at("content").get<std::string>();
  e.sentences = json.at("data").at("sentences").get<int64_t>();
  e.tokens = json.at("tokens").get<int>();
  e.quantile = json.at("quantile").get<double>();
  e.repetitions = json.at("repetitions").get<int>();
  e.best_effort = json.at("best_effort").get<bool>();
  e.baseline = json.at("baseline").get<std::string>();
  e.reference = json.at("reference").get<std::string>();
  e.decide_limit = duration_of(json.at("decide_limit_ms"));
  if (const Json& memory = json.at("worker_memory_bytes"); !memory.is_string()) e.worker_memory = bytes_of(memory);
  out.ingredients.program = json.at("program").get<std::string>();
  return out;
}

// The description of a folder, and what it is of.
Result<Json> description_of(const std::string& folder) {
  if (!fs::exists(folder + "/experiment.json"))
    return Error{ErrorCode::kData, folder + ": holds no results of tessera compare; give the folders of its shards"};
  TESSERA_ASSIGN(Json json, read_description(folder));
  json.erase("shard");
  return json;
}

Result<Parsed> parsed(const Json& json, const std::string& folder) {
  try {
    return parse(json);
  } catch (const Json::exception& error) { return damaged_description(folder, error.what()); }
}

Status copy_plans(const std::string& from, const std::string& to) {
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(from + "/plans", failed)) {
    const fs::path copy = fs::path(to) / "plans" / entry.path().filename();
    if (copy.extension() != ".json" || fs::exists(copy)) continue;  // others are what a killed process was writing
    TESSERA_TRY(copy_file(entry.path().string(), copy.string()));
  }
  return {};
}

Status copy_answers(const std::string& from, ResultsFolder& to) {
  std::ifstream in(from + "/answers.jsonl", std::ios::binary);
  for (std::string line; std::getline(in, line);) TESSERA_TRY(to.append_answer(line));
  return {};
}

}  // namespace

Result<int> merge_results(const CompareFlags& flags) {
  if (flags.files.empty()) return Error{ErrorCode::kInvalid, "--merge needs the folders of shards: --merge OUT/shard-*"};
  if (flags.out.empty()) return Error{ErrorCode::kInvalid, "--merge needs --out DIR, where the whole is to be"};
  Comparison whole;
  TESSERA_ASSIGN(whole.description, description_of(flags.files[0]));
  TESSERA_ASSIGN(Parsed first, parsed(whole.description, flags.files[0]));
  whole.experiment = std::move(first.experiment);
  whole.ingredients = std::move(first.ingredients);
  whole.out = flags.out;
  for (const std::string& folder : flags.files) {
    TESSERA_ASSIGN(const Json other, description_of(folder));
    if (other["id"] != whole.description["id"])
      return Error{ErrorCode::kInvalid, folder + " and " + flags.files[0] + " are of different experiments (" +
                                            difference(whole.description, other) + ")"};
  }
  TESSERA_ASSIGN(const auto out, ResultsFolder::open(whole.out, whole.description, flags.update));
  RowMap rows = out->rows();
  for (const std::string& folder : flags.files) {
    if (fs::equivalent(folder, whole.out)) continue;
    TESSERA_ASSIGN(RowMap more, read_rows_of(folder));
    rows.merge(more);
    TESSERA_TRY(copy_plans(folder, whole.out));
    TESSERA_TRY(copy_answers(folder, *out));
  }
  const std::vector<Cell> cells = cells_of(whole.experiment);
  size_t missing = 0;
  for (const Cell& cell : cells) missing += !rows.contains(cell_id(whole.experiment, whole.ingredients, cell));
  TESSERA_ASSIGN(const int code, conclude(whole, cells, rows, flags, *out));
  if (missing == 0) return code;
  spdlog::error("{} of {} cells are missing: a shard has not ended; play it, and merge again", missing, cells.size());
  return kExitData;
}

}  // namespace tessera
