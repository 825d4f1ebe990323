// Opens platforms, models and data, and names them by their content.
#include "tools/compare_stage.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "configs/loader.h"
#include "shards/hash.h"
#include "tools/atomic_file.h"
#include "tools/loaded_plugins.h"
#include "tools/process_facts.h"
#include "tools/texts.h"

namespace tessera {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kHost = "host";

std::string digest_of(std::string_view text) {
  return content_digest(std::as_bytes(std::span(text.data(), text.size()))).substr(0, 16);
}

Result<std::string> file_digest(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{ErrorCode::kData, path + ": cannot be read"};
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) return Error{ErrorCode::kData, path + ": cannot be read"};
  return digest_of(text);
}

void append(std::string& text, const std::vector<Micro>& values) {
  for (const Micro value : values) text += std::to_string(value.n) + ' ';
}

// The accuracy model is part of what decides a plan; the store's content hash leaves profiles out.
std::string model_digest(const OpenedModel& model, const std::string& shape) {
  const AccuracyModel& a = model.profile.model;
  std::string text = model.store ? model.store->content_hash() : shape;
  if (!model.profiled) return text;
  for (const auto* values : {&a.base, &a.sensitivity, &a.importance_accuracy, &a.importance_loss}) append(text, *values);
  for (const int64_t scale : a.scale_ppm) text += std::to_string(scale) + ' ';
  for (const AccuracyModel::Point& point : a.map)
    text += std::to_string(point.loss.n) + ':' + std::to_string(point.accuracy.n) + ' ';
  return digest_of(text);
}

Result<OpenedModel> open_app(const AppModel& names) {
  ModelFlags flags;
  flags.model = names.model;
  flags.shape = names.shape;
  return open_model(flags, 0);
}

// Platform, models and data of an arena's apps, in words.
Result<std::string> arena_words(const Experiment& experiment, const std::vector<Workload>& workloads, const Arena& arena,
                                const std::string& host) {
  std::string words = host;
  if (arena.platform != kHost) { TESSERA_ASSIGN(words, file_digest(arena.platform)); }
  std::vector<AppModel> apps;
  for (const Workload& workload : workloads)
    for (AppModel& app : app_models(experiment, workload, arena)) apps.push_back(std::move(app));
  apps.push_back({arena.model, arena.shape, {}});
  std::sort(apps.begin(), apps.end());
  apps.erase(std::unique(apps.begin(), apps.end()), apps.end());
  for (const AppModel& app : apps) {
    TESSERA_ASSIGN(const OpenedModel model, open_app(app));
    std::string shape;
    if (!app.shape.empty()) { TESSERA_ASSIGN(shape, file_digest(app.shape)); }
    if (experiment.tokens > model.shape.max_tokens)
      return Error{ErrorCode::kInvalid, "tokens " + std::to_string(experiment.tokens) + ": " + model.shape.name +
                                            " takes at most " + std::to_string(model.shape.max_tokens)};
    words += ' ' + model_digest(model, shape);
    if (arena.platform != kHost) TESSERA_TRY(load_platform(arena.platform, model.shape));
    if (app.data.empty()) continue;
    TESSERA_ASSIGN(const std::string data, file_digest(app.data));
    words += '+' + data;
  }
  return words;
}

std::string times_of(const Workload& workload) {
  std::string text;
  for (const WorkloadApp& app : workload.apps)
    for (const Duration time : app.arrivals.times) text += std::to_string(time.ns) + ' ';
  return digest_of(text);
}

// A policy's own build, where a plug-in brought it: the program's version does not tell.
Result<std::string> contender_words(const Contender& contender) {
  for (const Plugin& plugin : loaded_plugins())
    if (std::find(plugin.policies.begin(), plugin.policies.end(), contender.policy) != plugin.policies.end())
      return file_digest(plugin.path);
  return std::string("built in");
}

Result<std::vector<int>> token_counts(const OpenedModel& model, const std::string& path, int64_t sentences) {
  std::vector<int> counts;
  if (path.empty() || !model.tokenizer) return counts;
  TESSERA_ASSIGN(const Dataset data, read_tsv(path, model.shape.label_names));
  for (const Example& example : data.examples) {
    if (sentences > 0 && static_cast<int64_t>(counts.size()) >= sentences) break;
    counts.push_back(encode_text(*model.tokenizer, {example.a, example.b, data.pairs}, model.shape.max_tokens).tokens());
  }
  return counts;
}

// This machine's figures for the model, copied into `kept` where they are not there yet. Returns the machine's fingerprint.
Result<std::string> keep_figures(const Arena& arena, const OpenedModel& model, const std::string& kept) {
  if (!model.store)
    return Error{ErrorCode::kInvalid, "platform " + arena.name + ": " + model.shape.name +
                                          " has no weights to calibrate this machine with; give a described platform"};
  TESSERA_ASSIGN(const OpenedMachine here, open_machine({}, model, false, false));
  if (here.calibration.path.empty()) return Error{ErrorCode::kData, "this machine's calibration cannot be kept"};
  const fs::path copy = fs::path(kept) / fs::path(here.calibration.path).filename();
  std::error_code failed;
  fs::create_directories(kept, failed);
  if (!fs::exists(copy)) TESSERA_TRY(copy_file(here.calibration.path, copy.string()));
  return here.calibration.fingerprint;
}

}  // namespace

Result<std::vector<Workload>> load_workloads(const Experiment& experiment) {
  std::vector<Workload> out;
  for (const std::string& path : experiment.workloads) {
    Workload workload;
    workload.apps.emplace_back();
    if (!path.empty()) { TESSERA_ASSIGN(workload, load_workload(path)); }
    out.push_back(std::move(workload));
  }
  return out;
}

std::vector<AppModel> app_models(const Experiment& experiment, const Workload& workload, const Arena& arena) {
  std::vector<AppModel> out;
  for (const WorkloadApp& app : workload.apps) {
    const bool own = !app.model.empty() || !app.shape.empty();
    AppModel names{own ? app.model : arena.model, own ? app.shape : arena.shape, app.data};
    if (app.data.empty() && !own && names.shape.empty()) names.data = experiment.data;
    out.push_back(std::move(names));
  }
  return out;
}

Result<Ingredients> ingredients_of(const Experiment& experiment, const std::vector<Workload>& workloads,
                                   const std::string& host) {
  Ingredients out;
  out.program = program_version();
  if (!experiment.data.empty()) { TESSERA_ASSIGN(out.data, file_digest(experiment.data)); }
  for (const Arena& arena : experiment.arenas) {
    TESSERA_ASSIGN(std::string words, arena_words(experiment, workloads, arena, host));
    out.arenas.push_back(std::move(words));
  }
  for (size_t w = 0; w < workloads.size(); ++w) {
    std::string words;
    if (!experiment.workloads[w].empty()) {
      TESSERA_ASSIGN(words, file_digest(experiment.workloads[w]));
      words += times_of(workloads[w]);
    }
    out.workloads.push_back(std::move(words));
  }
  for (const Contender& contender : experiment.contenders) {
    TESSERA_ASSIGN(std::string words, contender_words(contender));
    out.contenders.push_back(std::move(words));
  }
  return out;
}

bool needs_preparation(const Experiment& experiment, const std::vector<Workload>& workloads) {
  for (const Arena& arena : experiment.arenas) {
    if (arena.platform == kHost) return true;
    for (const Workload& workload : workloads)
      for (const AppModel& app : app_models(experiment, workload, arena))
        if (!app.model.empty()) return true;
  }
  return false;
}

Result<std::string> prepare_models(const Experiment& experiment, const std::vector<Workload>& workloads,
                                   const std::string& kept) {
  std::string words;
  for (const Arena& arena : experiment.arenas)
    for (const Workload& workload : workloads)
      for (const AppModel& app : app_models(experiment, workload, arena)) {
        TESSERA_ASSIGN(const OpenedModel model, open_app(app));
        if (arena.platform != kHost) continue;
        TESSERA_ASSIGN(const std::string fingerprint, keep_figures(arena, model, kept));
        words += fingerprint + ' ';
      }
  return words.empty() ? words : digest_of(words);
}

Result<std::unique_ptr<StageKeeper::Opened>> StageKeeper::open(const Arena& arena, const AppModel& names) const {
  auto opened = std::make_unique<Opened>();
  opened->names = names;
  TESSERA_ASSIGN(opened->model, open_app(names));
  MachineFlags flags;
  flags.virtual_time = true;
  if (arena.platform == kHost)
    flags.calibration = calibration_;
  else
    flags.platform = arena.platform;
  TESSERA_ASSIGN(OpenedMachine here, open_machine(flags, opened->model, false, false));
  opened->machine = std::move(here.machine);
  if (!opened->machine.bindings.empty()) opened->machine.platform.devices.resize(opened->machine.bindings.size());
  scale_loads(opened->machine, arena.io_speed);
  opened->accuracy = opened->model.profile.model;
  return opened;
}

Result<std::vector<Stage>> StageKeeper::stages(const Cell& cell) {
  const Arena& arena = experiment_.arenas[cell.arena];
  if (arena_ != cell.arena || workload_ != cell.workload) {
    std::vector<std::unique_ptr<Opened>> fresh;
    for (const AppModel& names : app_models(experiment_, workloads_[cell.workload], arena)) {
      TESSERA_ASSIGN(std::unique_ptr<Opened> one, open(arena, names));
      if (!experiment_.workloads[cell.workload].empty()) {
        TESSERA_ASSIGN(one->tokens, token_counts(one->model, names.data, experiment_.sentences));
      }
      fresh.push_back(std::move(one));
    }
    open_ = std::move(fresh);
    arena_ = cell.arena;
    workload_ = cell.workload;
  }
  std::vector<Stage> stages;
  for (const std::unique_ptr<Opened>& one : open_) {
    if (!one->model.profiled) one->accuracy = random_importance(one->model.shape, cell.seed);
    const Bytes tokenizer{one->model.tokenizer ? one->model.tokenizer->resident_bytes() : 0};
    stages.push_back({&one->model.shape, &one->accuracy, &one->machine, tokenizer, one->tokens});
  }
  return stages;
}

}  // namespace tessera
