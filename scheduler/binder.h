// Gives the tasks of one request their operands: owns its buffers, reads from the store's extents, hands over what is kept.
#pragma once

#include <atomic>
#include <vector>

#include "framework/executor.h"
#include "scheduler/binder_arena.h"
#include "scheduler/residency_buffer.h"
#include "shards/graph_builder.h"
#include "shards/store.h"

namespace tessera {

// What the binder works with; outlives it.
struct BinderInputs {
  const Store& store;
  const Plan& plan;
  const TaskGraph& graph;
  const RequestBuffers& buffers;
  HostArena& arena;
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
  Result<Operands> bind(const Task& task) override;
  void ended(const Task& task, TaskState state) override;

  // A device never ended a task: this binder and the arena's pages must outlive the process's use of it.
  bool abandoned() const { return abandoned_; }
  // After a run that ended well: hands plan.keep's shards and the exit head over to the residents.
  void keep();
  std::vector<float> logits() const;
  // Bytes that the loads did read: fewer than planned where tokens share blocks of rows.
  Bytes io() const { return io_; }

 private:
  // A piece of the arena that this request owns, or a resident's.
  struct Piece {
    Buffer buffer;
    bool owned = false;  // by this request
  };
  // A task's operands live here from bind to ended.
  struct Bound {
    std::vector<ReadRequest> reads;
    std::vector<WeightRef> weights;
    std::vector<MemoryRef> partials;
    int part = 0;  // of a part: its place among its layer's
  };
  Piece& shard(int layer, int slice) { return shards_[static_cast<size_t>(layer) * plan_.slices + slice]; }
  Result<Operands> bind_load(const Task& task, Bound& bound);
  Status read_into(Bound& bound, const Extent& extent, Piece& piece, int64_t offset, int64_t room) const;
  Status bind_shards(const Task& task, Bound& bound);
  Status bind_rows(const Task& task, Bound& bound);
  Status bind_exit(const Task& task, Bound& bound);
  void bind_layer(const Task& task, Bound& bound, Operands& out);
  void bind_combine(const Task& task, Bound& bound, Operands& out);
  Operands bind_embed(Operands out);
  Operands bind_exit_head(Operands out);
  MemoryRef partial(int part) { return fixed_at(partials_at_ + part * partial_bytes_); }
  MemoryRef fixed_at(int64_t offset) { return {&fixed_.buffer, offset}; }
  void give_back(Piece& piece);
  void give_back_layer(int layer);

  const Store& store_;
  const Plan& plan_;
  const TaskGraph& graph_;
  const RequestBuffers& sizes_;
  HostArena& arena_;
  ResidencyBuffer& residents_;
  const std::vector<int32_t>& ids_;
  const std::vector<int32_t>& types_;

  std::vector<Bound> bound_;   // by task
  std::vector<Piece> shards_;  // [depth][M]
  std::vector<bool> kept_;     // [depth][M]
  Piece rows_, exit_, fixed_;
  int64_t attended_at_ = 0, partials_at_ = 0, partial_bytes_ = 0, logits_at_ = 0;
  std::vector<int64_t> workspace_at_;  // by device
  std::vector<const std::byte*> word_, position_;
  std::vector<const float*> token_type_;
  RowRefs row_refs_;
  ExitRefs exit_refs_;
  std::vector<int32_t> starts_;
  Bytes io_;
  std::atomic<bool> abandoned_{false};  // any lane
};

}  // namespace tessera
