// Renders the tables of `tessera compare`: budgets by contenders, the best of each marked, and a summary.
#pragma once

#include <string>
#include <vector>

#include "scheduler/experiment.h"
#include "tools/commands.h"
#include "tools/terminal.h"

namespace tessera {

std::string render_comparison(const Experiment& experiment, const std::vector<Cell>& cells, const std::vector<Json>& rows,
                              const Json& summary, int columns, const Painter& paint);

}  // namespace tessera
