// Runs plans that their policies may revise meanwhile, and tells what became of them.
#include <utility>

#include "scheduler/store_session.h"

namespace tessera {

StoreSession::Attempt::Attempt(StoreSession& session, const RequestOptions& options, int tokens, const Answer& answer,
                               Duration arrival, Duration elapsed)
    : session_(session), planned_(answer.planned), limits_(session.limits(*answer.planned)) {
  Policy* const policy = session.planner_.replans(options);
  if (policy == nullptr) return;
  RequestOptions decided = options;
  decided.budgets = session.planned_for_;
  const Margin& margin = planned_->margin;
  view_ = std::make_unique<SessionPlanner::RunningView>(session.planner_, decided, tokens, session.residents_.residency(),
                                                        margin);
  ReplanInputs inputs{.policy = *policy,
                      .view = view_->view,
                      .planned = *planned_,
                      .capacity = limits_.capacity,
                      .held = limits_.held,
                      .setup = margin.setup,
                      .setup_high = margin.setup_high,
                      .virtual_time = session.machine_.virtual_time,
                      .arrival = arrival,
                      .offset = elapsed,
                      .lead = {},
                      .lost = {}};
  if (!answer.taken_over.empty()) {
    inputs.lead = answer.taken_over.back().at;
    inputs.lost = answer.taken_over.back().faults.front().device;
  }
  replanner_ = std::make_unique<Replanner>(std::move(inputs));
  session.budgets_.listen(replanner_.get(), elapsed);
  limits_.watch = replanner_.get();
}

StoreSession::Attempt::~Attempt() {
  if (replanner_ != nullptr) session_.budgets_.listen(nullptr, {});
}

Status StoreSession::Attempt::report(Answer& answer) {
  answer.executed = planned_;
  if (replanner_ == nullptr) return {};
  session_.budgets_.listen(nullptr, {});
  if (replanner_->revisions().empty()) return {};
  TESSERA_ASSIGN(PlannedRequest executed, replanner_->executed());
  answer.executed = std::make_shared<const PlannedRequest>(std::move(executed));
  answer.revisions.insert(answer.revisions.end(), replanner_->revisions().begin(), replanner_->revisions().end());
  return {};
}

}  // namespace tessera
