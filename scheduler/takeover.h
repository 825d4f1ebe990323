// Decides how a request goes on after a device failed in its middle: from which layer, and on which devices.
//
//   layers:   0 done | 1 done | 2 running on opencl0 ─► fails | 3 | 4 | exit
//                             ▲
//             x of layer 2 lies in host memory: go on here, with what opencl0 had to do placed on those that are left
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "framework/cost_model.h"
#include "framework/executor.h"
#include "framework/plan.h"

namespace tessera {

// A device that failed a task of a run, and how.
struct DeviceFault {
  DeviceId device = 0;
  std::string name;       // of the device
  std::string task;       // "layer L3"
  std::string error;      // as its backend told it
  bool overdue = false;   // it took too long
  bool given_up = false;  // it never ended the task, and may still use its operands
};

// The devices that failed in a run, once each, those that never ended a task first. Empty where something else went wrong:
// damaged data, a cancelled run, memory that can never be granted.
std::vector<DeviceFault> faults_of(const TaskGraph& graph, const Platform& platform, const RunReport& report);

// The layer whose input x [T, D] is whole in the host's buffers after a run that failed; nothing where none is. A plan that
// itself resumed began with its own layer's.
std::optional<int> resume_point(const TaskGraph& graph, const Platform& platform, const Plan& plan, const RunReport& report);

// What a plan becomes without the lost devices. Pure.
struct Takeover {
  const Platform& platform;
  const CostOracle& costs;
  const std::vector<DeviceId>& devices;  // that are left, in the user's order
  const std::function<bool(const CostKey&)>& supports;
  int tokens = 0;
};
// Whether the devices that are left can run a model from its embedding to its exit head.
bool can_answer(const Takeover& takeover);
// The same submodel at the same bits, from `layer` on: parts of devices that are not left go to the one that computes a
// layer soonest, which becomes the home where the plan's is lost. Loads are empty. kDevice where nothing that is left can do
// it.
Result<Plan> place_anew(const Takeover& takeover, const Plan& plan, std::optional<int> layer);
// The plan cut to a depth.
Plan cut_to(const Plan& plan, int depth);

}  // namespace tessera
