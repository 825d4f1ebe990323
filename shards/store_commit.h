// Puts a new store in place: written beside the target, synced, renamed; never half there, never over what is not a store.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/result.h"
#include "shards/store_index.h"
#include "shards/store_io.h"

namespace tessera {

// Writes one data file of extents, start to end.
class ExtentWriter {
 public:
  static Result<ExtentWriter> create(const std::string& path);
  // Appends `payload` and zeros up to `length`.
  Result<ExtentRecord> append(std::span<const std::byte> payload, int64_t length);
  // Syncs and closes.
  Status finish();

 private:
  ExtentWriter(std::string path, OwnedFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  OwnedFd fd_;
};

// A folder beside the target that is removed with all it holds unless it was put in place. It is locked while its process
// lives: what a killed one left is removed by the next store of that name.
class PendingStore {
 public:
  // kInvalid where the target exists and may not be replaced; kData where nothing can be written beside it.
  static Result<std::unique_ptr<PendingStore>> create(const std::string& target, bool force);
  ~PendingStore();
  PendingStore(const PendingStore&) = delete;
  PendingStore& operator=(const PendingStore&) = delete;

  const std::string& path() const { return path_; }
  // Syncs the folder and gives it the target's name. A store that was there stays until then, and is removed after.
  Status commit();

 private:
  PendingStore() = default;
  std::string target_, path_;
  OwnedFd lock_;  // on the folder of path_
  bool replaces_ = false;
};

// Entries of `directory` that do not belong to a store of these bitwidths (all where empty), by name; ascending. Names under
// profiles/ must end in .json.
Result<std::vector<std::string>> foreign_entries(const std::string& directory, const std::vector<Bits>& bitwidths);

}  // namespace tessera
