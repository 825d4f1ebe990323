// Fills the residents before a request: binds a graph of loads, decodes what is to be held decoded.
#pragma once

#include <vector>

#include "framework/executor.h"
#include "scheduler/binder_arena.h"
#include "scheduler/residency_buffer.h"
#include "shards/store.h"

namespace tessera {

// One preload. All calls from the storage device's lane, one at a time.
class PreloadBinder final : public TaskBinder {
 public:
  // `wanted` tells which shards are to be decoded; sorted by id.
  PreloadBinder(const Store& store, const Residency& wanted, HostArena& arena, ResidencyBuffer& residents)
      : store_(store), wanted_(wanted), arena_(arena), residents_(residents) {}
  Result<Operands> bind(const Task& task) override;
  void ended(const Task& task, TaskState state) override;
  // A device never ended a load: this binder and the arena's pages must outlive the process's use of it.
  bool abandoned() const { return abandoned_; }
  // The first shard that could not be decoded.
  const Status& status() const { return status_; }

 private:
  Status add_read(const Extent& extent, int64_t offset, int64_t room);
  void hold_shards(const Task& task);
  Status hold_decoded(ShardId id, Bits bits, const std::byte* coded, int64_t bytes);

  const Store& store_;
  const Residency& wanted_;
  HostArena& arena_;
  ResidencyBuffer& residents_;
  Buffer piece_;  // of the load that runs
  std::vector<ReadRequest> reads_;
  Status status_;
  bool abandoned_ = false;
};

}  // namespace tessera
