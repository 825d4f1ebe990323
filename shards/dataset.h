// Reads labelled sentences from TSV files.
#pragma once

#include <string>
#include <vector>

#include "framework/result.h"

namespace tessera {

struct Example {
  std::string a, b;  // b empty for single sentences
  int label = -1;    // -1: no label
};

struct Dataset {
  std::string path;
  bool pairs = false;
  std::vector<Example> examples;
};

// A header line names the columns: `sentence` + `label`, or `sentence1`, `sentence2` + `label` (`label` optional). Labels
// are numbers, or one of `label_names`. Quotes are ordinary characters, as in GLUE. kData names the line and what was
// expected.
Result<Dataset> read_tsv(const std::string& path, const std::vector<std::string>& label_names);

}  // namespace tessera
