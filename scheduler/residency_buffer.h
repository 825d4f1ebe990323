// Keeps what stays in memory between requests: the preload buffer's shards and exit heads, with the pages that hold them.
#pragma once

#include <map>
#include <string>

#include "framework/operands.h"
#include "framework/plan.h"
#include "scheduler/binder_arena.h"
#include "scheduler/device_pool.h"

namespace tessera {

// One thread at a time.
class ResidencyBuffer {
 public:
  struct Held {
    Buffer buffer;  // empty in virtual time
    SpaceId space = kHostSpace;
    Bits bits = kAbsent;
    bool decoded = false;
    int64_t bytes = 0;
  };
  ResidencyBuffer(HostArena& arena, DevicePool& pool) : arena_(arena), pool_(pool) {}
  ~ResidencyBuffer();
  ResidencyBuffer(const ResidencyBuffer&) = delete;
  ResidencyBuffer& operator=(const ResidencyBuffer&) = delete;

  // Takes pages, or a device's buffer, over from a request. Whatever was held under the name is dropped.
  void hold(ShardId id, const Held& held);
  void hold_exit(int depth, std::byte* at, int64_t bytes);
  // Pages go back to the arena, buffers to the pool.
  void drop(ShardId id);
  void drop_exit(int depth);
  void clear();
  // Holds it no more, but gives nothing back: it is the caller's. False where it was not held.
  bool let_go(ShardId id);
  bool let_go_exit(int depth);
  // What lies in a device's buffers is gone.
  void drop_space(SpaceId space);
  // Drops whole shards, top layers first and in a layer the last slice first, until at most `budget` bytes of the host's
  // memory are held.
  void shrink_to(const Platform& platform, Bytes budget);
  // Drops in the same order, then exit heads, deepest first, until at least `bytes` of the host's memory are free again;
  // kUnlimited: everything, what lies in devices' own memory too. Returns what was freed of the host's.
  Bytes give_way(const Platform& platform, Bytes bytes);

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
  DevicePool& pool_;
  std::map<ShardId, Held> shards_;
  std::map<int, Held> exits_;
  mutable bool stale_ = false;
  mutable Residency residency_;
  mutable std::string fingerprint_;
};

}  // namespace tessera
