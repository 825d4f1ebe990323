// Measures what plans predict: a plan's weights at its bits, run over a labelled data set on a backend, in batches.
//
//   plan (depth, bits) ─► known in memory? ─► in the cache on disk? ─► forward passes over the sentences that are missing
//
// Plans that lack most sentences run over the whole set in an order in which neighbours share their first layers, whose
// activations are kept; plans that lack a few sentences run over these alone. Results are kept by (plan, sentence).
//
// Cache: one file a plan under `cache`/evaluations/, named by the hash of its key: content hash of the store, digest of the
// tokenised sentences, token limit, device, program version, depth and bits. The file holds the key in full, so that a
// collision is seen; it is written to a temporary name and renamed, so that any number of processes may share it. A file
// that is damaged, or another key's, is measured anew.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "framework/backend.h"
#include "framework/plan.h"
#include "shards/dataset.h"
#include "shards/store.h"
#include "shards/tokenizer.h"

namespace tessera {

// What of a plan decides its answers: bits[l * M + j] for l < depth, 0 where absent.
struct EffectivePlan {
  int depth = 0;
  std::vector<Bits> bits;
  auto operator<=>(const EffectivePlan&) const = default;
};
EffectivePlan effective_plan(const Plan& plan);

// By sentence of the data set.
struct Evaluation {
  std::vector<int16_t> labels;  // predicted, as `tessera eval` does; -1: not measured
  std::vector<float> margins;   // largest logit minus the next one
};

struct EvaluationWanted {
  EffectivePlan plan;
  std::vector<int32_t> sentences;  // empty: all
};

struct EvaluatorOptions {
  int64_t limit = INT64_MAX;        // only the first rows of the data set
  int max_tokens = 512;             // longer rows are cut; the model's own limit holds too
  std::string cache;                // folder; empty: nothing is kept on disk
  size_t most_known = 4096;         // plans kept in memory between two calls, some 5 KB each, where the disk has them too
  std::string version = "unknown";  // of the program: its arithmetic
  const std::atomic<bool>* cancel = nullptr;
  // After each plan that was measured; caller's thread.
  std::function<void(int64_t done, int64_t total)> progress{};
};

// $XDG_CACHE_HOME/tessera, or ~/.cache/tessera; empty where neither is set.
std::string default_cache_directory();

// One thread. Store, tokenizer and backend are borrowed. Weights and activations take memory from the first plan that has to
// be measured on (all versions of all shards; one set of activations a layer), until release().
class PlanEvaluator {
 public:
  // kData where the data set cannot be read or has no rows.
  static Result<std::unique_ptr<PlanEvaluator>> create(const Store& store, const Tokenizer& tokenizer,
                                                       const std::string& data_path, Backend& backend, int device,
                                                       const EvaluatorOptions& options);
  virtual ~PlanEvaluator() = default;

  // In the order of `wanted`; of a plan that is there twice, both see all sentences of either. What was measured is kept,
  // also after an error. kInvalid: a plan that the store does not have; kCancelled; the backend's.
  virtual Result<std::vector<std::shared_ptr<const Evaluation>>> evaluate(std::span<const EvaluationWanted> wanted) = 0;
  // Sentences of the data set, their given labels (-1: none) and tokens.
  virtual const std::vector<int>& labels() const = 0;
  virtual const std::vector<int>& tokens() const = 0;
  // 32 hex digits: names the plan, the store and the data (`accuracy_key` of a row).
  virtual std::string key(const EffectivePlan& plan) const = 0;
  // Forward passes of a sentence so far, and those whose result was known.
  struct Counts {
    int64_t measured = 0, from_memory = 0, from_disk = 0;
  };
  virtual Counts counts() const = 0;
  // Gives weights and activations back.
  virtual void release() = 0;
};

}  // namespace tessera
