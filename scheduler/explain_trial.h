// Tries an alternative to a plan: replays it, checks it, and says what became of it and why.
#pragma once

#include <optional>
#include <string>

#include "scheduler/explain.h"

namespace tessera {

// Of one plan under one bench; both outlive it. One thread.
class Trial {
 public:
  Trial(const SessionPlanner::Bench& bench, const PlannedRequest& planned, std::string policy);

  // What the windows of an outcome are of; without slices there are none.
  struct Subject {
    int layer = 0;
    SliceMask slices = 0;
  };
  Outcome chosen(const Subject& subject) const;
  // Another choice of bits or of the exit: what it loses decides.
  Outcome of(const Plan& alternative, const Subject& subject) const;
  // Another place to compute: it loses the same, so when it ends decides.
  Outcome of_placement(const Plan& alternative, const Subject& subject) const;
  static Outcome illegal(std::string why);

  bool losses_known() const { return losses_known_; }
  // "0.0041 nats (0.12 points)"
  static std::string loss_text(const Outcome& outcome);
  const PlanningView& view() const { return bench_.view; }
  const Plan& plan() const { return planned_.plan; }

 private:
  // Of an alternative that is legal and keeps the budgets, `verdict` is left for its judge.
  Outcome tried(const Plan& alternative, const Subject& subject, bool& keeps_budgets) const;
  void fill(const Prediction& predicted, Outcome& out) const;
  void judge_memory(const Plan& alternative, Outcome& out) const;
  void judge_late(const Prediction& roomy, Outcome& out) const;
  Bytes shortage(const Plan& alternative, Bytes enough) const;
  void judge_loss(const Plan& alternative, Outcome& out) const;
  std::string passed_over() const { return ": " + policy_ + " passed it over"; }

  const SessionPlanner::Bench& bench_;
  const PlannedRequest& planned_;
  const std::string policy_;
  PlanningView unhurried_;  // the view, with lateness allowed: check_plan then tells what is illegal in itself
  Duration limit_;          // the latency budget; of a plan that is late itself (best effort), its own latency
  bool late_ = false;       // the plan itself
  bool losses_known_ = false;
};

}  // namespace tessera
