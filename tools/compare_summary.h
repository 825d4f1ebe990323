// Sums rows up: by contender, and contender against contender.
#pragma once

#include <string>
#include <vector>

#include "tools/compare_accuracy.h"

namespace tessera {

// By platform, model, workload and contender, then by contender over all of them (platform null): fields in docs/compare.md.
Json summary_json(const Experiment& experiment, const std::vector<Cell>& cells, const std::vector<Json>& rows);
// Every two contenders of a group whose accuracy was measured on the same sentences.
Json pairs_json(const std::vector<Cell>& cells, const std::vector<Json>& rows, const std::vector<Scores>& scores);

}  // namespace tessera
