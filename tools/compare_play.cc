// Deals cells to workers; in a worker, plays one and writes its plan.
#include "tools/compare_play.h"

#include <filesystem>
#include <set>

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "tools/atomic_file.h"
#include "tools/compare_accuracy.h"
#include "tools/compare_row.h"
#include "tools/interrupt.h"
#include "tools/terminal.h"
#include "tools/worker_pool.h"

namespace tessera {
namespace {

// A job's number is its cell's place, twice, plus whether the reference is asked for a bound, too.
uint64_t job_of(size_t cell, bool with_bound) { return cell * 2 + (with_bound ? 1 : 0); }
size_t cell_of(uint64_t job) { return job / 2; }
bool with_bound(uint64_t job) { return job % 2 != 0; }

Status keep_plan(const Played& played, const Stage& stage, const std::string& plans_folder, Json& row) {
  if (played.planned == nullptr || played.planned->infeasible || !row["feasible"].get<bool>()) return {};
  const PlanFile file = plan_file(*played.planned, *stage.shape, stage.machine->platform);
  row["plan_hash"] = file.hash;
  const std::string path = plans_folder + "/" + file.hash + ".json";
  if (std::filesystem::exists(path)) return {};
  return write_file(path, file.document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

// What each app's answers are measured on.
void name_answer_sets(const PlaySetup& setup, const Cell& cell, Json& apps) {
  const auto names = app_models(setup.experiment, setup.workloads[cell.workload], setup.experiment.arenas[cell.arena]);
  for (size_t a = 0; a < apps.size() && a < names.size(); ++a) apps[a]["set"] = answer_set_json(names[a]);
}

Result<Json> play_one(const PlaySetup& setup, const Cell& cell, bool bounded, StageKeeper& stages, Tournament& tournament,
                      const std::string& plans_folder) {
  TESSERA_ASSIGN(const std::vector<Stage> on, stages.stages(cell));
  Json row = empty_row(setup.experiment, cell, cell_id(setup.experiment, setup.ingredients, cell), stages.model_name());
  const bool one_shot = setup.experiment.workloads[cell.workload].empty();
  TESSERA_ASSIGN(const Played played, one_shot ? tournament.play(on.front(), cell, bounded)
                                               : tournament.play(setup.workloads[cell.workload], on, cell));
  fill_row(played, row);
  if (row.contains("ran")) name_answer_sets(setup, cell, row["ran"]["apps"]);
  TESSERA_TRY(keep_plan(played, on.front(), plans_folder, row));
  return row;
}

// What ends a worker in the middle of its work.
struct Limits {
  Duration decide;
  Bytes memory;
};

// Written into a row that a limit cost its answer, or its bound: under wider ones it is played again.
Json limits_json(const Limits& limits) {
  return {{"decide_limit_ns", limits.decide.ns}, {"worker_memory_bytes", limits.memory.n}};
}
bool wider(const Limits& now, const Json& then) {
  return now.decide.ns > then.value("decide_limit_ns", int64_t{0}) ||
         now.memory.n > then.value("worker_memory_bytes", int64_t{0});
}

// Ended from outside in the middle of a call: whose fault, and what.
std::string verdict(const JobEnd& end, const Limits& limits, const Contender& contender) {
  const std::string who = "policy " + (end.policy.empty() ? contender.policy : end.policy);
  if (end.overdue)
    return who + ": overdue: no answer within " + to_string(limits.decide) +
           " (decide_limit); its process was ended; decide faster, or raise --decide-limit";
  if (end.took.n > 0)
    return who + ": took " + to_string(end.took) + " of memory, " + to_string(limits.memory) +
           " are allowed (worker_memory); its process was ended; use less, or raise --worker-memory";
  if (end.policy.empty()) return who + ": its process " + end.lost + " outside of the policy's own calls";
  return who + ": crashed: its process " + end.lost;
}

// One sweep, in the parent.
class Sweep {
 public:
  Sweep(const PlaySetup& setup, const std::vector<Cell>& cells, ResultsFolder& folder, RowMap& rows)
      : setup_(setup),
        cells_(cells),
        folder_(folder),
        rows_(rows),
        limits_{setup.experiment.decide_limit, worker_memory(setup.experiment, setup.jobs)},
        progress_("compare") {}

  Status run() {
    std::vector<uint64_t> jobs;
    for (size_t i = 0; i < cells_.size(); ++i)
      if (to_be_played(rows_, id_of(i))) jobs.push_back(job_of(i, true));
    total_ = static_cast<int64_t>(jobs.size());
    PoolOptions options;
    options.workers = setup_.jobs;
    options.limit = limits_.decide;
    options.memory = limits_.memory;
    options.make = [this](PolicyPulse& pulse) { return worker(pulse); };
    options.ended = [this](const JobEnd& end, std::vector<uint64_t>& again) { return ended(end, again); };
    TESSERA_TRY(run_jobs(options, jobs));
    if (unbounded_ > 0)
      spdlog::warn(
          "{} rows have no bound: the reference {} was ended in the middle of them; raise --decide-limit ({}) or "
          "--worker-memory ({}), or give --reference none",
          unbounded_, setup_.experiment.reference, to_string(limits_.decide), to_string(limits_.memory));
    return {};
  }

 private:
  bool to_be_played(const RowMap& rows, const std::string& id) const {
    const auto row = rows.find(id);
    if (row == rows.end()) return true;
    const auto stopped = row->second.find("stopped_at");
    return stopped != row->second.end() && stopped->is_object() && wider(limits_, *stopped);
  }

  std::string id_of(size_t cell) const { return cell_id(setup_.experiment, setup_.ingredients, cells_[cell]); }

  Worker worker(PolicyPulse& pulse) const {
    watch_policies(pulse);
    auto stages = std::make_shared<StageKeeper>(setup_.experiment, setup_.workloads, setup_.calibration);
    auto tournament = std::make_shared<Tournament>(setup_.experiment, true);
    return {[this, stages, tournament](uint64_t job, const std::function<void(const std::string&)>&) {
      return play_cell(setup_, cells_[cell_of(job)], with_bound(job), *stages, *tournament, folder_.path() + "/plans")
          .dump();
    }};
  }

  Status ended(const JobEnd& end, std::vector<uint64_t>& again) {
    const size_t index = cell_of(end.job);
    const Contender& contender = setup_.experiment.contenders[cells_[index].contender];
    if (end.lost.empty()) {
      Json answer = Json::parse(end.answer, nullptr, false);
      if (answer.contains("row")) {
        if (!with_bound(end.job)) answer["row"]["stopped_at"] = limits_json(limits_);
        return keep(std::move(answer["row"]));
      }
      return Error{static_cast<ErrorCode>(answer.value("code", 0)), answer.value("message", "a worker answered nonsense")};
    }
    // Others may have left that memory taken, or what crashed later: a process of its own tells whose it is.
    if (!end.first && (end.took.n > 0 || (end.policy.empty() && !end.overdue))) {
      again.push_back(end.job);
      return {};
    }
    // The reference failed, not who competes: its row goes without a bound.
    if (with_bound(end.job) && end.policy == setup_.experiment.reference && contender.policy != end.policy) {
      again.push_back(job_of(index, false));
      ++unbounded_;
      return {};
    }
    Json row = empty_row(setup_.experiment, cells_[index], id_of(index), model_name_);
    fail_row(verdict(end, limits_, contender), row);
    if (end.overdue || end.took.n > 0) row["stopped_at"] = limits_json(limits_);
    return keep(std::move(row));
  }

  Status keep(Json row) {
    if (row["model"].is_string() && model_name_.is_null()) model_name_ = row["model"];
    TESSERA_TRY(folder_.append(row));
    const std::string id = row["id"].get<std::string>();
    rows_[id] = std::move(row);
    progress_.update(++done_, total_);
    return {};
  }

  const PlaySetup& setup_;
  const std::vector<Cell>& cells_;
  ResultsFolder& folder_;
  RowMap& rows_;
  const Limits limits_;
  Progress progress_;
  Json model_name_;
  int64_t done_ = 0, total_ = 0, unbounded_ = 0;
};

bool is_set(const Contender& contender) {
  return !contender.knobs.empty() || contender.depth || contender.width || contender.bits;
}

// One cell for every contender that is set, on every platform: its number.
std::vector<uint64_t> settings_to_try(const Experiment& experiment, const std::vector<Cell>& cells) {
  std::vector<uint64_t> jobs;
  std::set<std::pair<size_t, size_t>> seen;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!is_set(experiment.contenders[cells[i].contender])) continue;
    if (seen.emplace(cells[i].arena, cells[i].contender).second) jobs.push_back(i);
  }
  return jobs;
}

}  // namespace

Json play_cell(const PlaySetup& setup, const Cell& cell, bool with_bound, StageKeeper& stages, Tournament& tournament,
               const std::string& plans_folder) {
  const Result<Json> row = play_one(setup, cell, with_bound, stages, tournament, plans_folder);
  if (row.ok()) return {{"row", *row}};
  return {{"code", static_cast<int>(row.error().code)}, {"message", row.error().message}};
}

Bytes worker_memory(const Experiment& experiment, int jobs) {
  if (experiment.worker_memory) return *experiment.worker_memory;
  const Bytes all{static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE)};
  const Bytes share{all.n / 4 * 3 / std::max(1, jobs)};
  return std::max(kLeastWorkerMemory, std::min(mib(4096), share));
}

// Each in a worker: a policy that crashes or never answers here will do so in its row, too, and is told there.
Status check_settings(const PlaySetup& setup, const std::vector<Cell>& cells) {
  PoolOptions options;
  options.workers = setup.jobs;
  options.limit = setup.experiment.decide_limit;
  options.memory = worker_memory(setup.experiment, setup.jobs);
  options.make = [&](PolicyPulse& pulse) {
    watch_policies(pulse);
    auto stages = std::make_shared<StageKeeper>(setup.experiment, setup.workloads, setup.calibration);
    auto tournament = std::make_shared<Tournament>(setup.experiment, true);
    return Worker{[&, stages, tournament](uint64_t job, const std::function<void(const std::string&)>&) {
      const auto on = stages->stages(cells[job]);
      if (!on.ok()) return Json::object().dump();
      const Status understood = tournament->understands(on->front(), cells[job]);
      return (understood.ok() ? Json::object() : Json{{"refused", understood.error().message}}).dump();
    }};
  };
  options.ended = [&](const JobEnd& end, std::vector<uint64_t>&) -> Status {
    const Json answer = end.lost.empty() ? Json::parse(end.answer, nullptr, false) : Json();
    if (!answer.is_object() || !answer.contains("refused")) return {};
    const Cell& cell = cells[end.job];
    return Error{ErrorCode::kInvalid, setup.experiment.contenders[cell.contender].label + ", on platform " +
                                          setup.experiment.arenas[cell.arena].name + ": " +
                                          answer["refused"].get<std::string>() + "; nothing has been played"};
  };
  return run_jobs(options, settings_to_try(setup.experiment, cells));
}

Status play_cells(const PlaySetup& setup, const std::vector<Cell>& cells, ResultsFolder& folder, RowMap& rows) {
  Sweep sweep(setup, cells, folder, rows);
  return sweep.run();
}

}  // namespace tessera
