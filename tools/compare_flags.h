// Reads what `tessera compare` is asked for: an experiment's file, flags that stand in for parts of it, ranks of a cluster.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/experiment.h"
#include "tools/flags.h"

namespace tessera {

struct CompareFlags {
  OutputFlags output;
  ModelFlags model;
  std::vector<std::string> files;  // EXPERIMENT.toml; with --merge, folders
  std::vector<std::string> policies, latencies, memories, preloads, platforms, workloads, seeds;
  std::string data, out, shard, baseline, reference;
  std::optional<int64_t> sentences;
  std::optional<int> tokens, repetitions, jobs;
  std::optional<double> quantile;
  std::optional<Duration> decide_limit;
  std::optional<Bytes> worker_memory;
  bool best_effort = false, update = false, merge = false, no_report = false, no_accuracy = false;
};
void declare_compare(CLI::App& app, CompareFlags& flags);

// The file's experiment with the flags' parts in place of its own; checked. Where the file's data set is not here, accuracy
// is not measured, and stderr says so; one that a flag names has to be there.
Result<Experiment> experiment_of(const CompareFlags& flags);

// "2/8", or "auto": from what mpirun and Slurm tell a process. kInvalid where they tell nothing.
Result<SweepShard> shard_of(const std::string& text);

// Splits "sti,std-pipeline(bits=2,a=b),random" at the commas outside of parentheses.
std::vector<std::string> split_outside(const std::string& text);

}  // namespace tessera
