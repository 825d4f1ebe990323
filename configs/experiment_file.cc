// Reads an experiment from a TOML file.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "configs/loader.h"
#include "configs/toml_table.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using configs::beside;
using configs::TomlTable;

Result<std::string> optional_text(TomlTable& table, std::string_view key) {
  if (!table.has(key)) return std::string();
  return table.text(key);
}

Result<std::string> optional_path(TomlTable& table, std::string_view key, const std::string& file) {
  TESSERA_ASSIGN(const std::string path, optional_text(table, key));
  return beside(file, path);
}

template <typename T>
Status read_list(TomlTable& table, std::string_view key, Result<T> (*parse)(std::string_view), std::vector<T>& to) {
  if (!table.has(key)) return {};
  TESSERA_ASSIGN(const std::vector<std::string> texts, table.texts(key));
  to.clear();
  for (const std::string& text : texts) {
    const Result<T> value = parse(text);
    if (!value.ok()) return table.error(key, std::string(key) + ": " + value.error().message);
    to.push_back(*value);
  }
  if (to.empty()) return table.error(key, std::string(key) + " must not be empty");
  return {};
}

Result<Bytes> budget_bytes(std::string_view text) { return parse_budget_bytes(std::string(text)); }

// The experiment's own budgets, or a platform's.
Status read_budgets(TomlTable& table, Arena& arena) {
  TESSERA_TRY(read_list(table, "latencies", parse_duration, arena.latencies));
  TESSERA_TRY(read_list(table, "memories", budget_bytes, arena.memories));
  return read_list(table, "preloads", budget_bytes, arena.preloads);
}

Status read_model(TomlTable& table, const std::string& file, Arena& arena) {
  TESSERA_ASSIGN(const std::string model, optional_path(table, "model", file));
  TESSERA_ASSIGN(const std::string shape, optional_path(table, "shape", file));
  if (model.empty() && shape.empty()) return {};
  arena.model = model;
  arena.shape = shape;
  return {};
}

Status read_contenders(TomlTable& document, Experiment& experiment) {
  TESSERA_ASSIGN(const auto plain, document.texts("policies"));
  for (const std::string& text : plain) {
    auto contender = parse_contender(text);
    if (!contender.ok()) return document.error("policies", contender.error().message);
    experiment.contenders.push_back(contender.take());
  }
  TESSERA_ASSIGN(auto tables, document.tables("policy"));
  for (TomlTable& table : tables) {
    TESSERA_ASSIGN(const std::string use, table.text("use"));
    auto contender = parse_contender(use);
    if (!contender.ok()) return table.error("use", contender.error().message);
    if (table.has("label")) { TESSERA_ASSIGN(contender->label, table.text("label")); }
    TESSERA_TRY(table.finish());
    experiment.contenders.push_back(contender.take());
  }
  return {};
}

std::string platform_path(const std::string& file, const std::string& text) {
  return text == "host" ? text : beside(file, text);
}

// "x0.25": as short as it can be told.
std::string speed_text(double speed) {
  char text[32];
  std::snprintf(text, sizeof text, " io x%.6g", speed);
  return text;
}

// Each arena has budgets of its own, so a small file can ask for very many: they are counted before they are copied.
Status count_budgets(const TomlTable& at, std::string_view key, const Arena& arena, size_t copies, size_t& budgets) {
  budgets += copies * budgets_of(arena);
  if (budgets <= kMostCells) return {};
  return at.error(key, "more than " + std::to_string(kMostCells) + " cells; split the experiment");
}

// One arena, or one for each of its IO speeds; `budgets`: of all arenas so far.
Status read_arena(TomlTable& table, const std::string& file, Arena arena, Experiment& experiment, size_t& budgets) {
  TESSERA_ASSIGN(const std::string platform, table.text("file"));
  const Arena named = arena_of(platform_path(file, platform));
  arena.platform = named.platform;
  arena.name = named.name;
  if (table.has("name")) { TESSERA_ASSIGN(arena.name, table.text("name")); }
  TESSERA_TRY(read_model(table, file, arena));
  TESSERA_TRY(read_budgets(table, arena));
  TESSERA_ASSIGN(const auto speeds, table.numbers("io_speeds", 1e-3, 1e3));
  TESSERA_TRY(table.finish());
  TESSERA_TRY(count_budgets(table, "io_speeds", arena, std::max<size_t>(1, speeds.size()), budgets));
  const std::string name = arena.name;
  for (const double speed : speeds) {
    arena.io_speed = speed;
    arena.name = name + (speed == 1 ? "" : speed_text(speed));
    experiment.arenas.push_back(arena);
  }
  if (speeds.empty()) experiment.arenas.push_back(std::move(arena));
  return {};
}

Status read_arenas(TomlTable& document, const std::string& file, Experiment& experiment) {
  Arena shared;
  shared.latencies = {milliseconds(20)};
  shared.memories = {mib(8)};
  shared.preloads = {Bytes{0}};
  TESSERA_TRY(read_model(document, file, shared));
  TESSERA_TRY(read_budgets(document, shared));
  TESSERA_ASSIGN(const auto plain, document.texts("platforms"));
  size_t budgets = 0;
  TESSERA_TRY(count_budgets(document, "platforms", shared, plain.size(), budgets));
  for (const std::string& text : plain) {
    Arena arena = shared;
    const Arena named = arena_of(platform_path(file, text));
    arena.platform = named.platform;
    arena.name = named.name;
    experiment.arenas.push_back(std::move(arena));
  }
  TESSERA_ASSIGN(auto tables, document.tables("platform"));
  for (TomlTable& table : tables) TESSERA_TRY(read_arena(table, file, shared, experiment, budgets));
  if (!experiment.arenas.empty()) return {};
  Arena host = shared;
  host.platform = host.name = "host";
  experiment.arenas.push_back(std::move(host));
  return {};
}

Status read_requests(TomlTable& document, const std::string& file, Experiment& experiment) {
  if (document.has("workloads")) {
    TESSERA_ASSIGN(experiment.workloads, document.texts("workloads"));
    for (std::string& path : experiment.workloads) path = beside(file, path);
  }
  if (document.has("seeds")) {
    TESSERA_ASSIGN(const auto seeds, document.integers("seeds", 0, INT64_MAX));
    experiment.seeds.assign(seeds.begin(), seeds.end());
  }
  const auto whole = [&document](std::string_view key, int64_t least, int64_t most, int64_t fallback) -> Result<int64_t> {
    if (!document.has(key)) return fallback;
    return document.integer(key, least, most);
  };
  TESSERA_ASSIGN(experiment.data, optional_path(document, "data", file));
  TESSERA_ASSIGN(experiment.sentences, whole("sentences", 1, INT32_MAX, 0));
  TESSERA_ASSIGN(const int64_t tokens, whole("tokens", 1, 1 << 15, experiment.tokens));
  experiment.tokens = static_cast<int>(tokens);
  TESSERA_ASSIGN(const int64_t repetitions, whole("repetitions", 1, 100'000, 1));
  experiment.repetitions = static_cast<int>(repetitions);
  TESSERA_ASSIGN(experiment.quantile, document.number("quantile", 0.5, 0.999, experiment.quantile));
  TESSERA_ASSIGN(experiment.best_effort, document.boolean("best_effort", false));
  TESSERA_ASSIGN(experiment.decide_limit, document.duration("decide_limit", experiment.decide_limit));
  if (document.has("worker_memory")) {
    TESSERA_ASSIGN(const std::string text, document.text("worker_memory"));
    const Result<Bytes> bytes = parse_budget_bytes(text);
    if (!bytes.ok()) return document.error("worker_memory", "worker_memory: " + bytes.error().message);
    experiment.worker_memory = *bytes;
  }
  return {};
}

}  // namespace

Result<Experiment> load_experiment(const std::string& path) {
  TESSERA_ASSIGN(const toml::table parsed, configs::parse_toml(path));
  TomlTable document(parsed, path);
  Experiment experiment;
  experiment.name = fs::path(path).stem().string();
  TESSERA_ASSIGN(experiment.title, optional_text(document, "title"));
  TESSERA_TRY(read_contenders(document, experiment));
  TESSERA_TRY(read_arenas(document, path, experiment));
  TESSERA_TRY(read_requests(document, path, experiment));
  TESSERA_ASSIGN(experiment.baseline, optional_text(document, "baseline"));
  TESSERA_ASSIGN(experiment.reference, optional_text(document, "reference"));
  TESSERA_TRY(document.finish());
  return experiment;
}

}  // namespace tessera
