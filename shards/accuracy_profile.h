// Keeps an accuracy profile beside its store: how accuracy depends on depth, width, shards and bitwidths.
#pragma once

#include <string>
#include <vector>

#include "framework/accuracy_model.h"
#include "framework/result.h"
#include "shards/store.h"

namespace tessera {

// All slices up to `width` of the first `depth` layers at one bitwidth, measured.
struct UniformAccuracy {
  Bits bits = kExact;
  int depth = 0, width = 0;
  double loss = 0;             // KL to the exact full model, nats
  double even = -1, odd = -1;  // accuracy in [0, 1]; -1: not measured
};

// A random plan whose accuracy on the odd rows was predicted, then measured.
struct CheckedPlan {
  int depth = 0, width = 0;
  double mean_bits = 0;  // exact counted as 32
  double predicted_loss = 0, loss = 0;
  double predicted = 0, odd = 0;
};

struct StoredProfile {
  AccuracyModel model;
  std::string task;                  // file stem: STORE/profiles/<task>.json
  std::string data;                  // what it was measured on, N of each part
  std::string version;               // of the program that measured
  double map_error_points = 0;       // |predicted - measured| accuracy on the odd rows, mean, in points
  double worst_error_points = 0;     // the largest of them
  double bias_points = 0;            // predicted - measured, mean: what the two halves of the rows differ by is in it
  double rank_correlation = 0;       // Spearman, predicted against measured, over the plans that were checked
  double loss_rank_correlation = 0;  // the same for the divergence, which has no label noise
  std::vector<UniformAccuracy> uniform;
  std::vector<CheckedPlan> checked;
};

// Loads STORE/profiles/<task>.json, or the one written last where task is empty. kData where its content hash is another
// store's (says how to profile again). No profile: an unprofiled model is not an error; `found` tells.
Result<StoredProfile> load_profile(const Store& store, const std::string& task, bool* found);
// Writes STORE/profiles/<task>.json whole or not at all.
Status save_profile(const Store& store, const StoredProfile& profile);

// STORE/profiles, and the one way in which files get there: temporary neighbour, sync, rename. kData names file and reason.
std::string profile_path(const Store& store, const std::string& file_name);
Status write_profile_file(const Store& store, const std::string& file_name, const std::string& text);

}  // namespace tessera
