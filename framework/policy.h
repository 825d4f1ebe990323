// The contract of a policy: decides, from a snapshot, what to run under the budgets.
//
// Life of a policy object, 1 to 3 on one thread:
//   1. created by the registry under its name; `knobs()` lists what it understands
//   2. preload(view), optional, before any request: what should already be in memory when a request like this one arrives.
//      The session loads it ahead of the request, outside its latency, and then passes it as view.residency.
//   3. decide(view) for a request: returns a plan, or Infeasible. A pure function of the view (and of its seed): it holds
//      no engine pointer, starts nothing, blocks on nothing.
//   4. on_event(event, editor), optional, while the request runs: revise what has not been loaded yet. Called only where
//      replans(knobs) is true; on the lanes' threads, one call at a time, never during 2 or 3 (framework/plan_editor.h).
// The scheduler checks each plan (legal, within budgets) and replays it in virtual time before it runs. An illegal plan is
// the policy's error and is reported as such, never repaired.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "framework/accuracy_model.h"
#include "framework/cost_model.h"
#include "framework/plan.h"
#include "framework/plan_editor.h"

namespace tessera {

// Replays a candidate as the executor would run it, in virtual time: exact latency, peak and bytes. Pure; about a
// microsecond per task. Errors: kInfeasible where a reservation can never be granted; kInternal names what is illegal.
class PlanReplay {
 public:
  virtual ~PlanReplay() = default;
  // Under the view's own memory budget and residency.
  virtual Result<Prediction> replay(const Plan& plan) const = 0;
  // The same if the host's memory budget and what is resident were others: for the nearest feasible budgets and for
  // deciding what to preload. More memory never makes a plan later.
  virtual Result<Prediction> replay_if(const Plan& plan, Bytes memory, const Residency& residency) const = 0;
};

// A knob's value as given by --set name=value or by the flags that the command line maps onto it.
using Knobs = std::map<std::string, std::string, std::less<>>;

struct KnobDescription {
  std::string name, unit, default_value, meaning;
};

// A snapshot; everything in it outlives the call and does not change during it.
struct PlanningView {
  const ModelShape& shape;
  const AccuracyModel& accuracy;
  const Platform& platform;
  const CostOracle& costs;
  const PlanReplay& replay;
  const Residency& residency;
  Budgets budgets;
  std::vector<DeviceId> compute_devices;  // that may be used, available, in the user's order
  DeviceId storage = 0;
  int tokens = 0;  // T of the request
  uint64_t seed = 0;
  bool best_effort = false;  // where infeasible: the least-late plan instead
  std::optional<int> depth;  // given by hand
  std::optional<int> width;
  std::optional<Bits> bits;  // one bitwidth for every shard
  double quantile = 0.95;    // of the cost model, for policies that plan with one
  Knobs knobs;
  // Whether a device (key.device) can run such a task at all; pure. Empty: every device can run everything.
  std::function<bool(const CostKey&)> supports = {};
};

// The nearest budgets that would work; a field is absent where nothing would.
struct Infeasible {
  std::optional<Duration> latency;  // least, at the given memory
  std::optional<Bytes> memory;      // least, at the given latency
  Duration both_latency;            // a pair that works together
  Bytes both_memory;
  std::string why;  // "1x3 at 2 bits needs 1.9 ms; 1.0 ms given"
};
using Decision = std::variant<Plan, Infeasible>;

class Policy {
 public:
  virtual ~Policy() = default;
  virtual std::string_view name() const = 0;
  // What to hold before such a request arrives (view.residency is ignored), sorted by id: a preload buffer within
  // budgets.preload, or a whole submodel within budgets.memory. Not empty only where decide() with it returns a plan, or
  // where nothing does and it brings the nearest feasible budgets nearer.
  virtual Result<Residency> preload(const PlanningView&) { return Residency{}; }
  // kInvalid for a knob that cannot be understood; kInternal is a bug.
  virtual Result<Decision> decide(const PlanningView& view) = 0;
  // Whether on_event() is to be called for requests with these knobs. False costs nothing.
  virtual bool replans(const Knobs&) const { return false; }
  virtual void on_event(const Event&, PlanEditor&) {}
  virtual std::string_view summary() const = 0;  // one line with its source, for `tessera policies`
  virtual std::vector<KnobDescription> knobs() const { return {}; }
};

}  // namespace tessera
