// Lets policies compete under equal budgets: prepares, plays the cells in workers, concludes.
#include <filesystem>
#include <thread>

#include "tools/commands.h"
#include "tools/compare_conclude.h"
#include "tools/compare_play.h"
#include "tools/process_facts.h"
#include "tools/worker_pool.h"

namespace tessera {
namespace fs = std::filesystem;
namespace {

// All that is known before anything is played.
struct Prepared {
  Comparison comparison;
  std::vector<Workload> workloads;
  std::string calibration;  // folder of this machine's figures
  SweepShard shard;
};

Json error_json(const Error& error) { return {{"code", static_cast<int>(error.code)}, {"message", error.message}}; }

// What starts threads happens in a process of its own; returns what names this machine, where it takes part.
Result<std::string> make_ready(const Prepared& prepared) {
  const Experiment& experiment = prepared.comparison.experiment;
  if (!needs_preparation(experiment, prepared.workloads)) return std::string();
  std::string words;
  PoolOptions options;
  options.make = [&](PolicyPulse&) {
    return Worker{[&](uint64_t, const std::function<void(const std::string&)>&) {
      const auto kept = prepare_models(experiment, prepared.workloads, prepared.calibration);
      return (kept.ok() ? Json{{"words", *kept}} : error_json(kept.error())).dump();
    }};
  };
  options.ended = [&](const JobEnd& end, std::vector<uint64_t>&) -> Status {
    if (!end.lost.empty()) return Error{ErrorCode::kInternal, "preparing models and this machine: its process " + end.lost};
    const Json answer = Json::parse(end.answer, nullptr, false);
    if (!answer.contains("words"))
      return Error{static_cast<ErrorCode>(answer.value("code", 0)), answer.value("message", "")};
    words = answer["words"].get<std::string>();
    return {};
  };
  TESSERA_TRY(run_jobs(options, {0}));
  return words;
}

std::string folder_of(const CompareFlags& flags, const Experiment& experiment) {
  if (!flags.out.empty()) return flags.out;
  return "results/" + (experiment.name.empty() ? std::string("compare") : experiment.name);
}

// Figures that another build of the program measured go with its rows.
Status drop_old_figures(const Prepared& prepared, bool update) {
  const std::string& out = prepared.comparison.out;
  if (!update || !fs::exists(out + "/experiment.json")) return {};
  TESSERA_ASSIGN(const Json before, read_description(out));
  std::error_code ignored;
  if (before["program"] != program_version()) fs::remove_all(prepared.calibration, ignored);
  return {};
}

Result<Prepared> prepare(const CompareFlags& flags) {
  Prepared out;
  Comparison& all = out.comparison;
  TESSERA_ASSIGN(all.experiment, experiment_of(flags));
  TESSERA_ASSIGN(out.shard, shard_of(flags.shard));
  TESSERA_ASSIGN(out.workloads, load_workloads(all.experiment));
  all.out = folder_of(flags, all.experiment);
  if (!flags.shard.empty())
    all.out += "/shard-" + std::to_string(out.shard.index) + "-of-" + std::to_string(out.shard.count);
  out.calibration = all.out + "/calibration";
  TESSERA_TRY(drop_old_figures(out, flags.update));
  TESSERA_ASSIGN(const std::string host, make_ready(out));
  TESSERA_ASSIGN(all.ingredients, ingredients_of(all.experiment, out.workloads, host));
  all.description = experiment_json(all.experiment, all.ingredients);
  if (!flags.shard.empty()) all.description["shard"] = {{"index", out.shard.index}, {"count", out.shard.count}};
  return out;
}

int jobs_of(const CompareFlags& flags) {
  if (flags.jobs) return *flags.jobs;
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

Result<int> sweep(const CompareFlags& flags) {
  TESSERA_ASSIGN(const Prepared prepared, prepare(flags));
  const Comparison& all = prepared.comparison;
  const std::vector<Cell> cells = cells_of_shard(all.experiment, prepared.shard);
  const PlaySetup setup{all.experiment, prepared.workloads, all.ingredients, prepared.calibration, jobs_of(flags)};
  TESSERA_TRY(check_settings(setup, cells));
  TESSERA_ASSIGN(const auto folder, ResultsFolder::open(all.out, all.description, flags.update));
  RowMap rows = folder->rows();
  const Status played = play_cells(setup, cells, *folder, rows);
  Result<int> code = played.ok() ? conclude(all, cells, rows, flags, *folder) : Result<int>(played.error());
  if (!code.ok() && code.error().code == ErrorCode::kCancelled)
    return Error{ErrorCode::kCancelled, "interrupted: what is done is in " + all.out + "; run it again to go on"};
  return code;
}

}  // namespace

int compare_command(int argc, const char* const* argv) {
  CLI::App app("Lets policies compete: tessera compare [EXPERIMENT.toml] [FLAGS...]", "compare");
  CompareFlags flags;
  declare_compare(app, flags);
  if (const auto code = parse_flags(app, argc, argv, &flags.files)) return *code;
  const Result<int> code = flags.merge ? merge_results(flags) : sweep(flags);
  return code.ok() ? *code : fail("compare", code.error(), flags.output.json);
}

}  // namespace tessera
