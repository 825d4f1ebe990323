// Lowers a plan to the task graph that the executor runs: every load and every compute a node.
#pragma once

#include <map>
#include <vector>

#include "framework/cost_model.h"
#include "framework/plan.h"
#include "framework/result.h"
#include "framework/task_graph.h"

namespace tessera {

// Activations of a request in one space, held from its start to its end: sizes in bytes, each 64-aligned.
struct SpaceBuffers {
  int64_t hidden = 0;    // x f32 [T, D]
  int64_t attended = 0;  // y f32 [T, D], only where a layer is split
  int64_t partials = 0;  // f64 [T, D] for each part up to the last that has one here
  int64_t logits = 0;    // f32 [labels]
  int64_t total() const { return hidden + attended + partials + logits; }
};

struct RequestBuffers {
  SpaceBuffers host;
  std::map<DeviceId, SpaceBuffers> own;    // of the devices with buffers of their own that compute
  std::vector<int64_t> workspace;          // by device: the largest of its tasks' (tasks of one device never overlap)
  Bytes host_total() const;                // workspaces of devices that compute in host memory included; a multiple of 4096
  Bytes own_total(DeviceId device) const;  // its workspace included; a multiple of 4096
};

// A graph and what its tasks mean to the binder.
struct LoweredPlan {
  TaskGraph graph;
  TaskId embed = kNoTask;
  TaskId exit = kNoTask;
  RequestBuffers buffers;
  std::vector<Bytes> fixed;      // by memory: held for the whole request, buffers
  std::vector<Bytes> residents;  // by memory: shards and exit heads that were resident before and that the plan uses or
                                 // keeps unused: held when the run starts; whoever needs one last in its space releases it
                                 // unless the plan keeps it
  Bytes io;                      // bytes that the loads read; embedding rows at most (each token another block)
};

// What the loads of a request's rows read at most: every word row in a block of its own, position rows side by side.
struct RowBound {
  int blocks = 0;
  Bytes bytes;
};
RowBound row_bound(const ModelShape& shape, int tokens);

// `tokens` is T of the request (B = 1). Durations are `costs` at plan.quantile. The graph's tasks are in plan order:
// a layer's loads before its compute, loads in plan.loads' order. A load reserves what it brings and the last task that
// needs a byte releases it; what plan.keep names is not released, and stays in the space of the part that computes it.
// Residents that the plan uses at other bits, or does not use (unless it keeps them unused), are no part of the run: they
// are dropped before it. Activations are moved between spaces when a task first needs them there; weights of a device with
// buffers of its own are loaded straight into them where the host can address those, else into host memory, from where its
// link takes them over. kInternal names what is illegal in the plan ("layer 2 slice 7: no load and not resident").
Result<LoweredPlan> lower(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform,
                          DeviceId storage, const CostOracle& costs, int tokens);

// A graph of loads alone, in id order of `shards`' layers, that brings what is to be resident before a request arrives.
// One load a (layer, bits) group, shards to be held decoded one by one (so that few coded bytes stand beside the decoded
// ones); each reserves its bytes and nothing is released. `exits` are depths.
Result<TaskGraph> lower_preload(const ModelShape& shape, const std::vector<ResidentShard>& shards,
                                const std::vector<int>& exits, DeviceId storage, const CostOracle& costs);

}  // namespace tessera
