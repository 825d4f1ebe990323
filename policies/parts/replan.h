// Revises a running request: lowers what has not been loaded where reads come slower than planned, raises it where faster.
//
//   loads:   done ───│ running │ first │ pending ...      after each load of shards, and where a budget changes:
//   forecast ────────────────────────────────► end        lower until end <= deadline, or raise while it stays so
//   worst case: `first` is read at half the bandwidth, and so is all after it, at the lowest bits: still in time
#pragma once

#include <span>
#include <vector>

#include "framework/plan_editor.h"
#include "framework/policy.h"

namespace tessera {

// Follows one request after the other, as a policy object's on_event() is called.
class Reviser {
 public:
  void on_event(const Event& event, PlanEditor& editor);

 private:
  void learn(const Event& event, const PlanEditor& editor);

  // How loads of shards and computes went lately against the middle of their estimates: a mean that halves with each load.
  double loads_ = 1, computes_ = 1;
  bool seen_load_ = false;
  bool swings_ = false;  // something went otherwise than planned in this request
};

// One revision of one moment. Everything by forecasts of the editor; edits are tried in order of worth, by bisection.
class RevisionSearch {
 public:
  RevisionSearch(PlanEditor& editor, const Budgets& budgets, const Pace& pace);
  void make();

 private:
  struct Step {
    ShardEdit edit;
    double worth = 0;  // loss for each byte, of this step
  };
  using Edits = std::vector<ShardEdit>;

  bool fits(const Edits& edits, const Pace& pace) const;
  bool recovers(const Edits& edits) const;
  bool holds(const Edits& edits) const { return fits(edits, pace_) && recovers(edits); }
  void lower();
  void raise();
  std::vector<Step> steps(bool up) const;
  Edits first(const std::vector<Step>& steps, size_t count) const;
  Edits narrowed(Edits edits, int steps) const;
  Edits floor_after_first() const;
  void spare_layers(Edits& edits) const;
  bool commit(const Edits& edits, const char* why);

  PlanEditor& editor_;
  const PlanningView& view_;
  const Budgets budgets_;
  const Pace pace_;
  const Plan& plan_;
  const std::vector<PendingLoad> pending_;
  bool can_recover_ = true;
};

}  // namespace tessera
