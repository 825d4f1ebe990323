// Keeps what stays in memory between requests: the preload buffer's shards and exit heads, with the pages that hold them.
#pragma once

#include <map>
#include <string>

#include "framework/operands.h"
#include "framework/plan.h"
#include "scheduler/binder_arena.h"

namespace tessera {

// One thread (between requests); find() also from lanes while a request runs, as nothing else is called then but drop().
class ResidencyBuffer {
 public:
  struct Held {
    Buffer buffer;  // host null in virtual time
    Bits bits = kAbsent;
    bool decoded = false;
    int64_t bytes = 0;
  };
  explicit ResidencyBuffer(HostArena& arena) : arena_(arena) {}
  ~ResidencyBuffer();
  ResidencyBuffer(const ResidencyBuffer&) = delete;
  ResidencyBuffer& operator=(const ResidencyBuffer&) = delete;

  // Takes pages over from a request. Whatever was held under the name is dropped.
  void hold(ShardId id, Bits bits, bool decoded, std::byte* at, int64_t bytes);
  void hold_exit(int depth, std::byte* at, int64_t bytes);
  // Pages go back to the arena.
  void drop(ShardId id);
  void drop_exit(int depth);
  void clear();
  // Drops whole shards, top layers first and in a layer the last slice first, until at most `budget` bytes are held.
  void shrink_to(Bytes budget);

  Held* find(ShardId id);
  Held* find_exit(int depth);
  // Snapshots; valid until the next change.
  const Residency& residency() const;
  Bytes exit_bytes() const;
  // Equal for equal contents: part of the key of a reused plan.
  const std::string& fingerprint() const;

 private:
  void refresh() const;  // of the snapshots below
  HostArena& arena_;
  std::map<ShardId, Held> shards_;
  std::map<int, Held> exits_;
  mutable bool stale_ = false;
  mutable Residency residency_;
  mutable std::string fingerprint_;
};

}  // namespace tessera
