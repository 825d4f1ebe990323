// Turns edits of a running plan's shards into rewritten tasks, or says why they are not legal.
//
//   edit L3.2 6 -> 2 bits:   load L3 [0-3]: bytes, reserve ─► (transfer: bytes, reserve, release) ─► layer L3: bits, release
//   edit L3.2 left out:      the same, and the slice leaves all of them; a load without slices becomes empty
//
// The graph keeps its tasks and edges. A load may come to bring slices at several bitwidths.
#pragma once

#include <span>
#include <vector>

#include "framework/policy.h"
#include "shards/graph_builder.h"

namespace tessera {

// What edits would make of a plan; nothing is changed until apply().
struct PlanDraft {
  std::vector<ShardEdit> edits;  // that change something, once a shard
  std::vector<Task> tasks;       // rewritten, in id order
  Plan plan;                     // as it would be
  bool grows = false;            // some task reserves more than before
};

// One run's. Not thread-safe, but for what apply() says.
class PlanRevision {
 public:
  // `plan` and `graph` as decided and lowered under `view`, whose residency is that at the start; both are the run's own
  // copies, rewritten by apply(). All outlive this.
  PlanRevision(const PlanningView& view, const RequestBuffers& buffers, Plan& plan, TaskGraph& graph);

  // kInvalid says what is not legal: a shard that the plan does not have or that no load brings, bits that the store or the
  // request does not have, an illegal width, a part without slices, more kept than `preload` (and than before), a task that
  // its device does not support or for which its workspace is too small. Pure.
  Result<PlanDraft> draft(std::span<const ShardEdit> edits, Bytes preload) const;
  // Writes bits and slices of the draft's shards in place, so that tasks of other shards may be bound meanwhile.
  void apply(PlanDraft draft);

 private:
  // Who brings a shard. Not of residents.
  struct Bringer {
    TaskId load = kNoTask, transfer = kNoTask;
  };
  size_t index(ShardId id) const { return static_cast<size_t>(id.layer) * plan_.slices + id.slice; }
  Status edit_shard(const ShardEdit& edit, Plan& next) const;
  Status check_parts(const Plan& next, int layer) const;
  Status rewrite(const std::vector<SliceMask>& touched, PlanDraft& draft) const;
  Status rewrite_compute(SliceMask touched, const Plan& next, Task& task) const;
  std::vector<PlannedLoad> loads_of(const Plan& next) const;

  const PlanningView& view_;
  const RequestBuffers& buffers_;
  Plan& plan_;
  TaskGraph& graph_;
  const std::vector<PlannedLoad> decided_loads_;
  std::vector<Bringer> brought_by_;          // [depth][M]
  std::vector<std::vector<TaskId>> movers_;  // by layer: its loads and transfers of shards
  std::vector<std::vector<TaskId>> users_;   // by layer: what computes over its slices
  std::vector<SliceMask> decoded_, kept_;    // by layer: held decoded; in the preload buffer afterwards
};

}  // namespace tessera
