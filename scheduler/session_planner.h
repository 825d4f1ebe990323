// Asks policies for plans, checks and replays what they answer, and reuses it while nothing that it rests on has changed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/plan_replay.h"
#include "scheduler/session.h"

namespace tessera {

// One session's. References outlive it; `base` is what the process holds whatever is planned.
class SessionPlanner {
 public:
  // kInvalid where the platform has no storage device, or none that computes.
  static Result<SessionPlanner> create(const ModelShape& shape, const AccuracyModel& accuracy, const Machine& machine,
                                       Bytes base);

  struct Planned {
    std::shared_ptr<const PlannedRequest> request;
    bool reused = false;
  };
  // What a request is planned against. `fingerprint` stands for `residency` in the key; `first`: of the session.
  struct Situation {
    const Residency& residency;
    std::string fingerprint;
    bool first = false;
  };
  Result<Planned> plan(const RequestOptions& options, int tokens, const Situation& situation);
  // Decides without keeping the plan: how many bytes beyond `base` such a request would account at most; none where
  // infeasible.
  Result<Bytes> rehearse(const RequestOptions& options, int tokens, const Situation& situation);
  // Shows `look` what a plan for such a request is decided, replayed and checked against. `margin`: of the plan in question.
  struct Bench {
    const PlanningView& view;
    const GraphReplay& replay;
    const std::vector<DeviceBinding>& bindings;
  };
  Status show(const RequestOptions& options, int tokens, const Residency& residency, const Margin& margin,
              const std::function<Status(const Bench&)>& look) const;
  // The request's policy, where it re-plans such requests in flight; else null.
  Policy* replans(const RequestOptions& options);
  // What show() shows, to be kept while the request runs.
  struct RunningView {
    RunningView(const SessionPlanner& planner, const RequestOptions& options, int tokens, Residency held,
                const Margin& margin);
    RunningView(const RunningView&) = delete;
    RunningView& operator=(const RunningView&) = delete;
    const Residency residency;
    const MarginCosts costs;
    const ReplayContext context;
    const GraphReplay replay;
    const PlanningView view;
  };
  // What the policy wants resident before such a request; checked against the model and the memory budget, with the bytes
  // that it will really take.
  Result<Residency> preload(const RequestOptions& options, int tokens);
  // The rest of a request whose plan lost devices: `plan` from `layer` on (from the start where nothing of it can be used),
  // without `lost`, `elapsed` after its arrival. The deepest legal exit that keeps the latency budget, or the plan's own
  // depth where none does. kDevice where nothing that is left can do it; kInfeasible where memory has no room for it.
  struct Rest {
    const Plan& plan;
    std::optional<int> layer;
    const std::vector<DeviceId>& lost;
    Duration elapsed;
  };
  Result<PlannedRequest> take_over(const RequestOptions& options, int tokens, const Residency& residency, const Rest& rest);
  // No later plan uses the device, unless the others could not answer.
  void quarantine(DeviceId device);
  bool has_spare() const { return compute_.size() > 1; }
  // Whether a device can run such tasks; in virtual time all can.
  bool supports(const CostKey& key) const;
  // What a device may use for ever is the process's.
  void add_base(Bytes bytes) { base_ += bytes; }
  DeviceId storage() const { return storage_; }

 private:
  SessionPlanner(const ModelShape& shape, const AccuracyModel& accuracy, const Machine& machine, Bytes base)
      : shape_(shape), accuracy_(accuracy), machine_(machine), base_(base) {}
  Result<Policy*> policy(const std::string& name);
  Status check_request(const RequestOptions& options, int tokens) const;
  Margin margin(const RequestOptions& options, bool first) const;
  PlanningView view(const RequestOptions& options, int tokens, const ReplayContext& context, const PlanReplay& replay) const;
  ReplayContext context(const RequestOptions& options, int tokens, const Residency& residency,
                        const CostOracle& costs) const;
  static Result<PlannedRequest> predicted(const GraphReplay& replay, Plan plan, ReplayedPlan replayed);
  Result<PlannedRequest> decide(Policy& policy, const RequestOptions& options, int tokens, const Residency& residency,
                                const Margin& margin);
  std::string key(const RequestOptions& options, int tokens, const std::string& fingerprint, const Margin& margin) const;

  const ModelShape& shape_;
  const AccuracyModel& accuracy_;
  const Machine& machine_;
  Bytes base_;
  DeviceId storage_ = 0;
  std::vector<DeviceId> compute_;      // that plans may use
  std::vector<DeviceId> quarantined_;  // that they may not, any more
  std::map<std::string, std::unique_ptr<Policy>> policies_;
  std::map<std::string, std::shared_ptr<const PlannedRequest>> plans_;  // by key
  int64_t plan_count_ = 0;
};

}  // namespace tessera
