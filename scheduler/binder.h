// Gives the tasks of one request their operands: owns its buffers, reads from the store's extents, hands over what is kept.
#pragma once

#include <atomic>
#include <bit>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "framework/executor.h"
#include "scheduler/binder_arena.h"
#include "scheduler/device_pool.h"
#include "scheduler/residency_buffer.h"
#include "shards/graph_builder.h"
#include "shards/store.h"

namespace tessera {

// In the order of its slices.
template <typename Visit>
void for_each_slice(SliceMask set, Visit visit) {
  for (; set != 0; set &= set - 1) visit(std::countr_zero(set));
}

// What the binder works with; outlives it.
struct BinderInputs {
  const Store& store;
  const Platform& platform;
  // Both may be revised while they run: of a task, the binder reads its own shards' bits only, once it has started.
  const Plan& plan;
  const TaskGraph& graph;
  const RequestBuffers& buffers;
  HostArena& arena;
  DevicePool& pool;
  ResidencyBuffer& residents;
  const std::vector<int32_t>& ids;    // [T]
  const std::vector<int32_t>& types;  // [T]
};

// One request. bind/ended come from the lanes' threads; the rest from the session's, before and after the run. Bytes leave
// the arena exactly when the graph's account says so; the destructor gives back whatever a failed run left.
class RequestBinder final : public TaskBinder {
 public:
  explicit RequestBinder(const BinderInputs& inputs);
  ~RequestBinder() override;
  RequestBinder(const RequestBinder&) = delete;
  RequestBinder& operator=(const RequestBinder&) = delete;

  // Takes the request's fixed buffers. kInfeasible where the system has no memory.
  Status prepare();
  // The device for which prepare() failed; nothing where it was not for a device.
  std::optional<DeviceId> refused_by() const { return refused_by_; }
  Result<Operands> bind(const Task& task) override;
  void ended(const Task& task, TaskState state) override;

  // A device never ended a task: this binder and the arena's pages must outlive the process's use of it.
  bool abandoned() const { return abandoned_; }
  // x of the layer at which plan.resumes_at goes on; after prepare().
  void set_hidden(const std::vector<float>& hidden);
  // After a run that failed: x as it lies in host memory (scheduler/takeover.h tells of which layer it is, if of any).
  std::vector<float> hidden() const;
  // After a run that failed: hands over to the residents what was read for layers from `layer` on and lies in host memory,
  // and what the plan keeps.
  void salvage(int layer);
  // Bytes of host memory that a device may use for ever (abandoned).
  Bytes left_behind() const;
  // After a run that ended well: hands plan.keep's shards and the exit head over to the residents.
  void keep();
  std::vector<float> logits() const;
  // Bytes that the loads did read: fewer than planned where tokens share blocks of rows.
  Bytes io() const { return io_; }

 private:
  // A piece of the arena or a device's buffer that this request owns, or a resident's.
  struct Piece {
    Buffer buffer;
    int64_t bytes = 0;
    SpaceId space = kHostSpace;
    bool owned = false;    // by this request
    bool decoded = false;  // of a resident
    bool ready = false;    // its bytes have arrived
  };
  // A task's operands live here from bind to ended.
  struct Bound {
    std::vector<ReadRequest> reads;
    std::vector<WeightRef> weights;
    std::vector<MemoryRef> partials;
    std::vector<Move> moves;
  };
  size_t index(int layer, int slice) const { return static_cast<size_t>(layer) * plan_.slices + slice; }
  // Where the shard's part computes with it, and where it lies in host memory until its device's link has taken it over.
  Piece& shard(int layer, int slice) { return shards_[index(layer, slice)]; }
  Piece& staged(int layer, int slice) { return staged_[index(layer, slice)]; }
  Result<Operands> bind_load(const Task& task, Bound& bound);
  Status read_into(Bound& bound, const Extent& extent, Piece& piece, int64_t offset, int64_t room) const;
  Status bind_shards(const Task& task, Bound& bound);
  Status bind_rows(const Task& task, Bound& bound);
  Status bind_exit(const Task& task, Bound& bound);
  Status bind_transfer(const Task& task, Bound& bound, Operands& out);
  Status bind_weights(const Task& task, Bound& bound);
  Result<Operands> bind_compute(const Task& task, Bound& bound);
  void bind_layer(const Task& task, Bound& bound, Operands& out);
  void bind_combine(const Task& task, Bound& bound, Operands& out);
  void bind_embed(Operands& out);
  Status take_device_piece(Piece& piece, DeviceId device, int64_t bytes);
  // A value in a space's buffers.
  MemoryRef at(SpaceId space, Payload payload, int part = 0);
  MemoryRef workspace(DeviceId device);
  void give_back(Piece& piece);
  void give_back_part(const Task& task);
  void drop_resident(ShardId id);
  void keep_given(const Task& task);

  const Store& store_;
  const Platform& platform_;
  const Plan& plan_;
  const TaskGraph& graph_;
  const RequestBuffers& sizes_;
  HostArena& arena_;
  DevicePool& pool_;
  ResidencyBuffer& residents_;
  std::mutex residents_mutex_;  // lanes drop residents, or take them over
  const std::vector<int32_t>& ids_;
  const std::vector<int32_t>& types_;

  std::vector<Bound> bound_;            // by task
  std::vector<Piece> shards_, staged_;  // [depth][M]
  std::vector<bool> kept_;              // [depth][M]
  std::vector<bool> staged_by_host_;    // [depth][M]: loaded into host memory for a device that computes elsewhere
  Piece rows_, exit_, fixed_;
  std::map<DeviceId, Piece> own_fixed_;  // of devices with buffers of their own
  std::vector<int64_t> workspace_at_;    // by device, in the fixed piece of its space
  std::vector<const std::byte*> word_, position_;
  std::vector<const float*> token_type_;
  RowRefs row_refs_;
  ExitRefs exit_refs_;
  std::vector<int32_t> starts_;
  Bytes io_;
  std::optional<DeviceId> refused_by_;
  std::atomic<bool> abandoned_{false};  // any lane
};

}  // namespace tessera
