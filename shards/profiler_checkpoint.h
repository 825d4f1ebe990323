// Keeps what a profile has measured so far, so that an interrupted one goes on.
#pragma once

#include <string>

#include "framework/result.h"
#include "shards/profiler_probes.h"
#include "shards/store.h"

namespace tessera {

// One file, STORE/profiles/<task>.partial.json. `key` names the store's content, the data and the options: results under
// another key are ignored.
class ProfileCheckpoint {
 public:
  ProfileCheckpoint(const Store& store, const std::string& task, std::string key);
  // Marks what was measured; returns how many. A file that is missing or of another key gives 0, so does a damaged one.
  int64_t resume(ProbeList* list) const;
  Status write(const ProbeList& list) const;
  void remove() const;

 private:
  const Store& store_;
  const std::string file_, key_;
};

}  // namespace tessera
