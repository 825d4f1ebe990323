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

// Plays the cells that the folder has no row of; appends each row as it is done. A policy that crashes, never answers or
// plans illegally costs its own row, which says so. Shows progress on a terminal. kCancelled after an interrupt.
Status play_cells(const PlaySetup& setup, const std::vector<Cell>& cells, ResultsFolder& folder, RowMap& rows);

// What a worker answers for one cell: {"row": ...}, or {"code", "message"} where it is nobody's row. For tests, too.
Json play_cell(const PlaySetup& setup, const Cell& cell, bool with_bound, StageKeeper& stages, class Tournament& tournament,
               const std::string& plans_folder);

}  // namespace tessera
