// Deals cells to workers; in a worker, plays one and writes its plan.
#include "tools/compare_play.h"

#include <filesystem>

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

// Ended from outside in the middle of a call: whose fault, and what.
std::string verdict(const JobEnd& end, const Experiment& experiment, const Contender& contender) {
  const std::string who = "policy " + (end.policy.empty() ? contender.policy : end.policy);
  if (end.overdue)
    return who + ": overdue: no answer within " + to_string(experiment.decide_limit) + "; its process was ended";
  if (end.policy.empty()) return who + ": its process " + end.lost + " outside of the policy's own calls";
  return who + ": crashed: its process " + end.lost;
}

// One sweep, in the parent.
class Sweep {
 public:
  Sweep(const PlaySetup& setup, const std::vector<Cell>& cells, ResultsFolder& folder, RowMap& rows)
      : setup_(setup), cells_(cells), folder_(folder), rows_(rows), progress_("compare") {}

  Status run() {
    std::vector<uint64_t> jobs;
    for (size_t i = 0; i < cells_.size(); ++i)
      if (!rows_.contains(id_of(i))) jobs.push_back(job_of(i, true));
    total_ = static_cast<int64_t>(jobs.size());
    PoolOptions options;
    options.workers = setup_.jobs;
    options.limit = setup_.experiment.decide_limit;
    options.make = [this](PolicyPulse& pulse) { return worker(pulse); };
    options.ended = [this](const JobEnd& end, std::vector<uint64_t>& again) { return ended(end, again); };
    return run_jobs(options, jobs);
  }

 private:
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
      if (answer.contains("row")) return keep(std::move(answer["row"]));
      return Error{static_cast<ErrorCode>(answer.value("code", 0)), answer.value("message", "a worker answered nonsense")};
    }
    // The reference failed, not who competes: its row goes without a bound.
    if (with_bound(end.job) && end.policy == setup_.experiment.reference && contender.policy != end.policy) {
      again.push_back(job_of(index, false));
      return {};
    }
    Json row = empty_row(setup_.experiment, cells_[index], id_of(index), model_name_);
    fail_row(verdict(end, setup_.experiment, contender), row);
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
  Progress progress_;
  Json model_name_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

Json play_cell(const PlaySetup& setup, const Cell& cell, bool with_bound, StageKeeper& stages, Tournament& tournament,
               const std::string& plans_folder) {
  const Result<Json> row = play_one(setup, cell, with_bound, stages, tournament, plans_folder);
  if (row.ok()) return {{"row", *row}};
  return {{"code", static_cast<int>(row.error().code)}, {"message", row.error().message}};
}

Status play_cells(const PlaySetup& setup, const std::vector<Cell>& cells, ResultsFolder& folder, RowMap& rows) {
  Sweep sweep(setup, cells, folder, rows);
  return sweep.run();
}

}  // namespace tessera
