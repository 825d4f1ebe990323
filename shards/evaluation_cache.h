// Keeps measured predictions on disk, one file a plan, shared by any number of processes.
#pragma once

#include <set>
#include <string>

#include "shards/plan_evaluator.h"

namespace tessera {

// One thread; several processes. A file holds its key, so that another plan under the same name is not mistaken for this
// one, and a digest over all, so that damage is seen. What a killed process was writing is removed a day later, by who next
// writes beside it.
class EvaluationCache {
 public:
  // `folder` empty: keeps nothing.
  EvaluationCache(std::string folder, size_t sentences) : folder_(std::move(folder)), sentences_(sentences) {}

  // Everything unmeasured where there is no such file, or one that is damaged, another key's, or of other sentences.
  Evaluation load(const std::string& key) const;
  // What the file has beyond `evaluation` stays; written whole or not at all. A failure is only a warning, the first time.
  void save(const std::string& key, const Evaluation& evaluation);
  std::string path(const std::string& key) const;

 private:
  void sweep(const std::string& folder);

  std::string folder_;
  size_t sentences_;
  std::set<std::string> swept_;  // folders below it
  bool warned_ = false;
  int64_t written_ = 0;
};

// 32 hex digits of a key.
std::string key_digest(const std::string& key);

// Adds what `more` measured and `to` has not.
void merge(const Evaluation& more, Evaluation& to);

}  // namespace tessera
