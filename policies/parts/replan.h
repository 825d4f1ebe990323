// Revises a running request: lowers what is to be loaded next where the rest would be late, raises it where time is left.
//
//   loads:   done ───│ running │ next │ later ...      after each load of shards, and where a budget changes:
//   forecast ────────────────────────────────► end     all that is later is planned anew, so that end <= deadline with the
//   least
//                                                      loss; of that only the next layer's part is done
// Later layers are revised when their turn comes, by what is known then: nothing is lowered, or left out for ever, too
// early. Worst case: the next layer's loads take twice as long: the quickest ways of all that follows would still be in
// time.
#pragma once

#include <vector>

#include "framework/plan_editor.h"
#include "framework/policy.h"
#include "policies/parts/replan_paths.h"

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
  std::vector<bool> ended_;  // by task of the plan that runs
  WayBook ways_;             // of its layers
  bool swings_ = false;      // something went otherwise than planned in this request
};

// One revision of one moment. Everything by forecasts of the editor; edits are tried in order of worth, by bisection.
class RevisionSearch {
 public:
  RevisionSearch(PlanEditor& editor, const Event& event, const std::vector<bool>& ended, WayBook& ways, const Pace& pace);
  void make();

 private:
  struct Step {
    ShardEdit edit;
    double worth = 0;  // loss for each byte, of this step
  };
  using Edits = std::vector<ShardEdit>;
  struct Found {
    Edits next;  // of the next layer
    Micro loss;  // of the whole plan, with the later layers' edits
    bool legal = false, in_time = false;
  };

  bool fits(const Edits& edits, const Pace& pace) const;
  void spare_memory();
  bool lower(RestPaths& paths, double target);  // whether it changed anything
  Found search(RestPaths& paths, double target, bool drops) const;
  void raise(const RestPaths& paths, double target);
  std::vector<Step> steps(bool up) const;
  Edits first(const std::vector<Step>& steps, size_t count) const;
  Edits of_next_layer(Edits edits) const;
  bool commit(const Edits& edits, const char* why);

  PlanEditor& editor_;
  const PlanningView& view_;
  const Budgets budgets_;
  const Duration now_;
  const std::vector<bool>& ended_;
  WayBook& ways_;
  const Pace pace_;
  const Plan& plan_;
  const std::vector<PendingLoad> pending_;
};

}  // namespace tessera
