// Measures a store's accuracy profile by running probes of it on a backend: the mechanism of `tessera profile`.
//
// Every measurement is a probe: a depth and the bits of every shard, run on one part of the data. All probes are listed
// first, then run in an order in which neighbours share their first layers, whose activations are kept:
//
//   divergence part (N sentences)   KL to the exact full model  -> base, sensitivity, importance_loss, scale
//   even labelled rows              accuracy                    -> importance_accuracy, map g: loss -> accuracy
//   odd labelled rows               accuracy                    -> the error that is reported
//
// Results are kept in STORE/profiles/<task>.partial.json, written atomically, and taken up again by the next run with the
// same store, data and options; a finished profile replaces it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "framework/backend.h"
#include "framework/units.h"
#include "shards/accuracy_profile.h"
#include "shards/dataset.h"
#include "shards/store.h"
#include "shards/tokenizer.h"

namespace tessera {

struct ProfileProgress {
  const char* phase = "";  // "divergence", "even rows", "odd rows"
  int64_t done = 0;        // probes
  int64_t total = 0;
  Duration left;  // estimated from the work done so far; kForever until known
};

struct ProfileOptions {
  std::string task = "default";    // file stem of the profile; letters, digits, '-', '_', '.'
  std::string data_path;           // TSV of sentences for the divergence (labels unused)
  std::string dev_path;            // labelled TSV; empty: data_path's own rows, at most dev_rows of them
  int divergence_sentences = 256;  // of more than 5 words, drawn with `seed`
  int dev_rows = 1000;             // labelled rows used at most, even and odd together
  int fit_plans = 160;             // random plans behind scale and map
  int check_plans = 128;           // random plans that the reported error is taken over
  int max_tokens = 128;            // longer rows are cut
  uint64_t seed = 1;
  std::string version = "unknown";                         // of the program, kept in the profile
  bool fresh = false;                                      // do not take up a partial profile
  const std::atomic<bool>* cancel = nullptr;               // kCancelled; what was measured is kept
  std::function<void(const ProfileProgress&)> progress{};  // caller's thread, at most a few times a second
};

// Profiles the store on one compute device of the backend and saves STORE/profiles/<task>.json. One thread; the backend
// uses the cores. Holds all versions of all
// shards in memory, and one set of activations a layer.
// kInvalid: options; kData: files; kUnavailable, kDevice: the backend's; kCancelled.
Result<StoredProfile> profile_store(const Store& store, const Tokenizer& tokenizer, Backend& backend, int device,
                                    const ProfileOptions& options);

}  // namespace tessera
