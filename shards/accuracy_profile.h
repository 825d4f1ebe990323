// Measures how accuracy depends on depth, width, shards and bitwidths, and keeps it beside the store.
#pragma once

#include <atomic>
#include <string>

#include "framework/accuracy_model.h"
#include "framework/result.h"
#include "shards/store.h"
#include "shards/tokenizer.h"

namespace tessera {

struct StoredProfile {
  AccuracyModel model;
  std::string task;             // file stem: STORE/profiles/<task>.json
  std::string data;             // what it was measured on, N of each part
  double map_error_points = 0;  // |predicted - measured| accuracy on the odd rows, mean, in points
  double rank_correlation = 0;  // Spearman, predicted against measured, over the plans that were checked
};

// Loads STORE/profiles/<task>.json, or the only one there where task is empty. kData where its content hash is another
// store's (says how to profile again). No profile: an unprofiled model is not an error; `found` tells.
Result<StoredProfile> load_profile(const Store& store, const std::string& task, bool* found);
Status save_profile(const Store& store, const StoredProfile& profile);

}  // namespace tessera
