// Checks that a policy's plan is legal and within its budgets, before anything is loaded.
#pragma once

#include <string_view>
#include <vector>

#include "framework/executor.h"
#include "framework/policy.h"
#include "scheduler/plan_replay.h"

namespace tessera {

// What lower() found legal in form is checked against the model, the request and the devices here. kInternal names the
// policy, the object and the numbers: an illegal plan is the policy's error and is never repaired. `bindings` may be empty
// (virtual time); else every compute task must be one that its device supports.
Status check_plan(const PlanningView& view, std::string_view policy, const Plan& plan, const ReplayedPlan& replayed,
                  const std::vector<DeviceBinding>& bindings);

// Whether every task is one that its device supports; kInternal names the task and the device.
Status check_support(const Platform& platform, const ModelShape& shape, const TaskGraph& graph,
                     const std::vector<DeviceBinding>& bindings);

// Of one layer: its width and its shards' bits, against the model and what the request fixes; its devices.
Status check_layer(const PlanningView& view, const Plan& plan, int layer);

// Bytes of the host's memory that stay in the preload buffer after the plan.
Bytes kept_bytes(const PlanningView& view, const Plan& plan);

// The error of a plan that could not even be lowered or replayed, with the policy's name.
Error illegal_plan(std::string_view policy, const Error& why);

}  // namespace tessera
