// Makes the tasks that load, for requests and for what is preloaded.
#pragma once

#include "framework/cost_model.h"
#include "framework/model_shape.h"
#include "framework/plan.h"
#include "framework/task.h"

namespace tessera {

uint8_t saturated(int64_t n);
// Reserves `bytes` of the host's memory.
Task make_load(Op op, DeviceId storage, int64_t bytes, int64_t reads);
Task make_shard_load(const ModelShape& shape, DeviceId storage, int layer, Bits bits, SliceMask slices);
Task make_exit_load(const ModelShape& shape, DeviceId storage, int depth);
// Makes a load of shards, or the transfer that takes them over, move these of its slices, at the plan's bits; without slices
// it becomes empty. To be priced again.
void refit_load(const ModelShape& shape, const Plan& plan, SliceMask slices, Task& task);
// Makes a compute over slices one over these of them, at the plan's bits; `decoded`: slices of its layer that are held
// decoded. To be priced again.
void refit_compute(const Plan& plan, SliceMask slices, SliceMask decoded, Task& task);
// Fills estimate and planned duration.
void price(Task& task, const CostOracle& costs, double quantile);

}  // namespace tessera
