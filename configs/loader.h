// Reads descriptions: machines that are not here, and models without weights.
#pragma once

#include <string>

#include "framework/model_shape.h"
#include "framework/result.h"
#include "scheduler/experiment.h"
#include "scheduler/session.h"
#include "scheduler/workload.h"

namespace tessera {

// Errors are kInvalid (kData where the file cannot be read) and start with file and line:
// "board.toml:7: latency = 20: '20' has no unit; write 20ms". Unknown keys are refused with the nearest known one.

// A model's shape (configs/models/*.toml). Sizes of shards follow from the dimensions and `padding`.
Result<ModelShape> load_shape(const std::string& path);

// A machine in virtual time (configs/platforms/*.toml): no bindings, costs from the file. Costs that were published for one
// model are scaled to `shape` by multiply-adds (decoding by weights), provenance guessed.
Result<Machine> load_platform(const std::string& path, const ModelShape& shape);

// Apps and arrivals (configs/workloads/*.toml), with the recorded times that it names.
Result<Workload> load_workload(const std::string& path);

// Who competes where (configs/experiments/*.toml). Paths are relative to the file.
Result<Experiment> load_experiment(const std::string& path);
// "sti", "std-pipeline(bits=2)", "sti(pass1=lowest,preload=1MiB)": a policy and how it is set; what is neither depth, width,
// bits, quantile nor preload is a knob.
Result<Contender> parse_contender(const std::string& text);
// "8MiB", or "unlimited" (kUnlimited).
Result<Bytes> parse_budget_bytes(const std::string& text);
// "host", or a platform's file: called after its stem, without budgets.
Arena arena_of(const std::string& platform);

}  // namespace tessera
