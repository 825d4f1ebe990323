// Describes a tournament: who decides, under which budgets, on which machines; numbers its cells and names each by all that
// it depends on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/session.h"

namespace tessera {

// One who competes: a registered policy, and how it is set.
struct Contender {
  std::string policy;
  std::string label;  // shown, unique in the experiment: "sti(pass1=lowest)"
  Knobs knobs;
  std::optional<int> depth, width;  // given by hand
  std::optional<Bits> bits;
  std::optional<double> quantile;  // else the experiment's
  std::optional<Bytes> preload;    // its own preload budget, whatever the arena's
};
// "sti(bits=6,pass1=lowest)": what a contender without a label is called.
std::string default_label(const Contender& contender);

// A machine, a model on it, and the budgets that are tried there.
struct Arena {
  std::string name;      // shown as the row's platform
  std::string platform;  // a described machine's file, or "host": this machine by its calibration, in virtual time
  std::string model;     // a store or a Hugging Face folder
  std::string shape;     // or a model without weights; both empty: the embedded model
  double io_speed = 1;   // loads take 1/io_speed of their time: sweeps the ratio of IO to compute
  std::vector<Duration> latencies;
  std::vector<Bytes> memories;  // kUnlimited: none
  std::vector<Bytes> preloads;
};

struct Experiment {
  std::string name;   // a word: names the results' folder
  std::string title;  // one line, for reports
  std::vector<Contender> contenders;
  std::vector<Arena> arenas;
  std::vector<std::string> workloads{""};  // files; empty text: one-shot requests
  std::vector<uint64_t> seeds{0};
  std::string data;       // TSV on which accuracy is measured; empty: it is not
  int64_t sentences = 0;  // of the data, the first so many; 0: all
  int tokens = 128;       // T of one-shot requests
  double quantile = 0.95;
  int repetitions = 1;       // runs of a one-shot cell, each with a seed of its own
  bool best_effort = false;  // infeasible cells run late
  std::string baseline;      // label against which the share of the gap to the reference is told; empty: none
  std::string reference;     // registered policy that proves bounds; empty: none
  Duration decide_limit = milliseconds(10'000);  // a decision that takes longer is ended
  // Resident memory of a process that decides; one that takes more is ended. Nothing: what suits the machine.
  std::optional<Bytes> worker_memory;
};

// One run of one contender: a point of arenas x workloads x latencies x memories x preloads x seeds x contenders, in this
// order, the last fastest. Cells of one group differ in the contender only.
struct Cell {
  size_t index = 0, group = 0;
  size_t arena = 0, workload = 0, contender = 0;
  Duration latency;
  Bytes memory, preload;
  Bytes shared_preload;  // of the group: the arena's, whatever the contender's own
  uint64_t seed = 0;
};
std::vector<Cell> cells_of(const Experiment& experiment);

// What the named things are: digests of files, of the model's and the data's content, of the program's build.
struct Ingredients {
  std::string program, data;
  std::vector<std::string> arenas;      // by arena: platform and model
  std::vector<std::string> workloads;   // by workload
  std::vector<std::string> contenders;  // by contender: its plug-in's build, where it came from one
};
// 16 hex digits over all that the cell's row depends on: an equal id means that the row still holds. What ends a worker
// (decide_limit, worker_memory) is not in it: only rows that it cost an answer depend on it.
std::string cell_id(const Experiment& experiment, const Ingredients& ingredients, const Cell& cell);

// A rank's share of the sweep: whole groups where there are enough of them, else single cells.
struct SweepShard {
  int index = 0, count = 1;
};
std::vector<Cell> cells_of_shard(const Experiment& experiment, SweepShard shard);

// What the run of one of these requests asks of the session.
RequestOptions options_of(const Experiment& experiment, const Cell& cell);

inline constexpr size_t kMostCells = 100'000;  // some 10 kB of memory each
// Budgets that each contender plays in an arena for every workload and seed; kMostCells + 1 where there are more.
size_t budgets_of(const Arena& arena);

// Less is not enough for a process that only opens a model.
inline constexpr Bytes kLeastWorkerMemory = mib(256);

// kInvalid names what is missing, twice or out of range.
Status check_experiment(const Experiment& experiment);

}  // namespace tessera
