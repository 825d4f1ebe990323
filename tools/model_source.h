// Finds and opens the model that a command works on: a store, a Hugging Face folder, the embedded model, a bare shape.
#pragma once

#include <memory>
#include <string>

#include "shards/accuracy_profile.h"
#include "shards/store.h"
#include "shards/tokenizer.h"
#include "tools/flags.h"

namespace tessera {

struct OpenedModel {
  std::string directory;         // of the store; empty for a bare shape
  std::unique_ptr<Store> store;  // null for a bare shape
  std::unique_ptr<Tokenizer> tokenizer;
  ModelShape shape;
  StoredProfile profile;  // `model` holds seeded random importance where `profiled` is false
  bool profiled = false;
};

// kInvalid or kData name what is wrong and how to make a store. A Hugging Face folder is sharded once, under
// $XDG_CACHE_HOME/tessera/stores/, and stderr says so.
Result<OpenedModel> open_model(const ModelFlags& flags, uint64_t seed);
// <executable>/../share/tessera/models/minilm6-sst2
std::string embedded_model_directory();
// The store of a folder: itself, or the cached import of a Hugging Face folder.
Result<std::string> store_directory(const std::string& directory);

}  // namespace tessera
