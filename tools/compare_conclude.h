// Ends a sweep or a merge: measures what is missing, scores the rows, writes the results and tells them.
#pragma once

#include <string>
#include <vector>

#include "tools/compare_flags.h"
#include "tools/compare_results.h"

namespace tessera {

// What is compared, and where.
struct Comparison {
  Experiment experiment;
  Ingredients ingredients;
  Json description;  // experiment_json(), with "shard" where it is one
  std::string out;
};

// Of the cells that have a row: results.json and its companions, the tables or the JSON on stdout, the report where it is
// wanted, errors on stderr. Returns the exit code: 1 where a row has an error.
Result<int> conclude(const Comparison& comparison, const std::vector<Cell>& cells, const RowMap& rows,
                     const CompareFlags& flags, ResultsFolder& folder);

// Puts shards of one experiment together (flags.files: their folders) into flags.out. kInvalid where they are of different
// experiments; kData where a folder cannot be read. Exit code 4 where cells are missing.
Result<int> merge_results(const CompareFlags& flags);

}  // namespace tessera
