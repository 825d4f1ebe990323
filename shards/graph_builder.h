// Lowers a plan to the task graph that the executor runs: every load and every compute a node.
#pragma once

#include <vector>

#include "framework/cost_model.h"
#include "framework/plan.h"
#include "framework/result.h"
#include "framework/task_graph.h"

namespace tessera {

// Host memory that a request holds from start to end, beside what its loads bring: sizes in bytes, each 64-aligned.
struct RequestBuffers {
  int64_t hidden = 0;              // x f32 [T, D]
  int64_t attended = 0;            // y f32 [T, D], only where a layer is split
  int64_t partials = 0;            // f64 [T, D] for each part of the widest split
  int64_t logits = 0;              // f32 [labels]
  std::vector<int64_t> workspace;  // by device: the largest of its tasks' (tasks of one device never overlap)
  Bytes total() const;             // a multiple of 4096
};

// A graph and what its tasks mean to the binder.
struct LoweredPlan {
  TaskGraph graph;
  TaskId embed = kNoTask;
  TaskId exit = kNoTask;
  RequestBuffers buffers;
  Bytes fixed;      // held for the whole request: buffers.total()
  Bytes residents;  // shards and exit heads that were resident before and that the plan uses or keeps unused: held when the
                    // run starts; the layer that needs one last releases it unless the plan keeps it
  Bytes io;         // bytes that the loads read; embedding rows at most (each token another block)
};

// What the loads of a request's rows read at most: every word row in a block of its own, position rows side by side.
struct RowBound {
  int blocks = 0;
  Bytes bytes;
};
RowBound row_bound(const ModelShape& shape, int tokens);

// `tokens` is T of the request (B = 1). Durations are `costs` at plan.quantile. The graph's tasks are in plan order:
// a layer's loads before its compute, loads in plan.loads' order. A load reserves what it brings and the last task that
// needs a byte releases it; what plan.keep names is not released. Residents that the plan uses at other bits, or does not
// use (unless it keeps them unused), are no part of the run: they are dropped before it. kInternal names what is illegal in
// the plan
// ("layer 2 slice 7: no load and not resident").
Result<LoweredPlan> lower(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform,
                          DeviceId storage, const CostOracle& costs, int tokens);

// A graph of loads alone, in id order of `shards`' layers, that brings what is to be resident before a request arrives.
// One load a (layer, bits) group, shards to be held decoded one by one (so that few coded bytes stand beside the decoded
// ones); each reserves its bytes and nothing is released. `exits` are depths.
Result<TaskGraph> lower_preload(const ModelShape& shape, const std::vector<ResidentShard>& shards,
                                const std::vector<int>& exits, DeviceId storage, const CostOracle& costs);

}  // namespace tessera
