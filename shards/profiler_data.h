// Chooses and encodes the sentences that a profile runs on.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "shards/dataset.h"
#include "shards/profiler.h"
#include "shards/profiler_probes.h"

namespace tessera {

struct PartData {
  std::vector<Encoding> sequences;
  std::vector<int> labels;  // empty for the divergence part
};

struct ProfileData {
  std::array<PartData, kParts> parts;  // by Part
  std::string description;             // "256 sentences of train.tsv; 436 even and 436 odd rows of dev.tsv"
  std::string digest;                  // over all ids and labels
};

// kData where a file has too few usable rows: names how many and what is needed.
Result<ProfileData> choose_data(const ModelShape& shape, const Tokenizer& tokenizer, const ProfileOptions& options);

}  // namespace tessera
