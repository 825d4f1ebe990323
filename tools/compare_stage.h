// Opens what cells are played on: the arena's machine in virtual time, its model, the models of a workload's apps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "scheduler/tournament.h"
#include "tools/machine_source.h"
#include "tools/model_source.h"

namespace tessera {

// Reads the workloads' files; a plain one for "".
Result<std::vector<Workload>> load_workloads(const Experiment& experiment);

// The model that an app's requests go to, and its data: the arena's where the app names none. One-shot requests: one app.
struct AppModel {
  std::string model, shape, data;
  auto operator<=>(const AppModel&) const = default;
};
std::vector<AppModel> app_models(const Experiment& experiment, const Workload& workload, const Arena& arena);

// What a cell's id needs to know of the named files; also the first look at each of them. `host`: names this machine.
Result<Ingredients> ingredients_of(const Experiment& experiment, const std::vector<Workload>& workloads,
                                   const std::string& host);

// Whether something has to be made ready first that starts threads: a Hugging Face folder is imported, this machine
// calibrated.
bool needs_preparation(const Experiment& experiment, const std::vector<Workload>& workloads);
// Does it, in a process of its own. The figures of this machine go into the folder `kept`; those that are there stay.
// Returns what names the machine.
Result<std::string> prepare_models(const Experiment& experiment, const std::vector<Workload>& workloads,
                                   const std::string& kept);

// One worker's: keeps what the last cell was played on.
class StageKeeper {
 public:
  // `calibration`: the folder of prepare_models().
  StageKeeper(const Experiment& experiment, const std::vector<Workload>& workloads, std::string calibration)
      : experiment_(experiment), workloads_(workloads), calibration_(std::move(calibration)) {}
  // A stage an app. Valid until the next call.
  Result<std::vector<Stage>> stages(const Cell& cell);
  // Of the last cell's first app.
  const std::string& model_name() const { return open_.front()->model.shape.name; }

 private:
  struct Opened {
    AppModel names;
    OpenedModel model;
    Machine machine;
    AccuracyModel accuracy;  // of a shape: by the cell's seed
    std::vector<int> tokens;
  };
  Result<std::unique_ptr<Opened>> open(const Arena& arena, const AppModel& names) const;

  const Experiment& experiment_;
  const std::vector<Workload>& workloads_;
  std::string calibration_;
  size_t arena_ = SIZE_MAX, workload_ = SIZE_MAX;
  std::vector<std::unique_ptr<Opened>> open_;
};

}  // namespace tessera
