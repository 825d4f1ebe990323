// Loads residents: pages that a load brought become the residents', or are decoded into others and given back.
#include "scheduler/residency_preload.h"

#include <bit>
#include <cstring>

#include "shards/flat_codec.h"

namespace tessera {

Result<Operands> PreloadBinder::bind(const Task& task) {
  reads_.clear();
  piece_ = {};
  TESSERA_ASSIGN(piece_.host, arena_.allocate(task.reserve));
  piece_.bytes = {task.reserve};
  if (task.cost.op == Op::kLoadExit) {
    TESSERA_TRY(add_read(store_.exit(task.layer + 1), 0, task.reserve));
  } else {
    int64_t offset = 0;
    for (SliceMask rest = task.slice_set; rest != 0; rest &= rest - 1) {
      const ShardId id{task.layer, static_cast<int16_t>(std::countr_zero(rest))};
      const int64_t bytes = store_.shape().bytes_of(id, task.bits).n;
      TESSERA_TRY(add_read(store_.shard(id, task.bits), offset, bytes));
      offset += bytes;
    }
  }
  Operands out;
  out.shape = &store_.shape();
  out.reads = reads_;
  return out;
}

Status PreloadBinder::add_read(const Extent& extent, int64_t offset, int64_t room) {
  if (extent.length > room || extent.length <= 0)
    return Error{ErrorCode::kInternal, std::string(extent.file) + " at " + std::to_string(extent.offset) + ": extent of " +
                                           std::to_string(extent.length) + " bytes, the model's shape says " +
                                           std::to_string(room)};
  reads_.push_back({extent.fd, extent.offset, extent.length, {&piece_, offset}, extent.checksum, extent.file});
  return {};
}

void PreloadBinder::ended(const Task& task, TaskState state) {
  if (state == TaskState::kRunning) abandoned_ = true;  // given up: what it was given stays as it is
  if (abandoned_ || piece_.host == nullptr) return;
  if (state != TaskState::kDone) {
    arena_.release(piece_.host, piece_.bytes.n);
  } else if (task.cost.op == Op::kLoadExit) {
    residents_.hold_exit(task.layer + 1, piece_.host, piece_.bytes.n);
  } else {
    hold_shards(task);
  }
  piece_ = {};
}

void PreloadBinder::hold_shards(const Task& task) {
  std::byte* at = piece_.host;
  for (SliceMask rest = task.slice_set; rest != 0; rest &= rest - 1) {
    const ShardId id{task.layer, static_cast<int16_t>(std::countr_zero(rest))};
    const int64_t bytes = store_.shape().bytes_of(id, task.bits).n;
    const ResidentShard* wanted = wanted_.find(id);
    if (wanted != nullptr && wanted->decoded) {
      if (const Status held = hold_decoded(id, task.bits, at, bytes); !held.ok() && status_.ok()) status_ = held;
      arena_.release(at, bytes);
    } else {
      residents_.hold(id, {{.host = at, .bytes = {bytes}}, kHostSpace, task.bits, false, bytes});
    }
    at += bytes;
  }
}

Status PreloadBinder::hold_decoded(ShardId id, Bits bits, const std::byte* coded, int64_t bytes) {
  TESSERA_ASSIGN(const DenseShard dense, decode_shard(store_.shape(), bits, store_.exact_type(), coded, bytes));
  const std::vector<float> panels = to_panels(store_.shape(), dense);
  const int64_t size = align_up({static_cast<int64_t>(panels.size() * sizeof(float))}, HostArena::kPage).n;
  TESSERA_ASSIGN(std::byte * at, arena_.allocate(size));
  std::memcpy(at, panels.data(), panels.size() * sizeof(float));
  residents_.hold(id, {{.host = at, .bytes = {size}}, kHostSpace, bits, true, size});
  return {};
}

}  // namespace tessera
