// Replays candidates and remembers whether any was illegal.
#include "policies/parts/trials.h"

namespace tessera {

bool Trials::fits(Plan& plan) {
  const std::optional<Prediction> predicted = replay(plan, view_.budgets.memory);
  if (!predicted || predicted->latency > view_.budgets.latency || predicted->peak > view_.budgets.memory) return false;
  plan.predicted = *predicted;
  return true;
}

std::optional<Prediction> Trials::replay(const Plan& plan, Bytes memory) {
  ++count_;
  const Result<Prediction> result = view_.replay.replay_if(plan, memory, residency_);
  if (result.ok()) return *result;
  if (result.error().code != ErrorCode::kInfeasible && status_.ok()) status_ = result.error();
  return std::nullopt;
}

}  // namespace tessera
