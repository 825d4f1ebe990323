// Plays cells in worker processes and gathers their rows.
#pragma once

#include <string>
#include <vector>

#include "tools/compare_results.h"
#include "tools/compare_stage.h"

namespace tessera {

struct PlaySetup {
  const Experiment& experiment;
  const std::vector<Workload>& workloads;
  const Ingredients& ingredients;
  std::string calibration;  // folder of this machine's figures
  int jobs = 1;             // processes at once
};

// Resident memory that a worker may take: the experiment's own, else 4 GiB, or three quarters of this machine's memory
// dealt to all workers where that is less.
Bytes worker_memory(const Experiment& experiment, int jobs);

// Before anything is played: whether each contender understands how it is set, on every platform's model. kInvalid names
// contender, platform and what is not understood.
Status check_settings(const PlaySetup& setup, const std::vector<Cell>& cells);

// Plays the cells that `rows` has none of (or one that a tighter limit cost its answer); appends each row as it is done. A
// policy that crashes, never answers, takes all memory or plans illegally costs its own row, which says so. Shows progress
// on a terminal. kCancelled after an interrupt.
Status play_cells(const PlaySetup& setup, const std::vector<Cell>& cells, ResultsFolder& folder, RowMap& rows);

// What a worker answers for one cell: {"row": ...}, or {"code", "message"} where it is nobody's row. For tests, too.
Json play_cell(const PlaySetup& setup, const Cell& cell, bool with_bound, StageKeeper& stages, class Tournament& tournament,
               const std::string& plans_folder);

}  // namespace tessera
