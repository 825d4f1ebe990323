// Looks at the next step up of each shard of a layer, and names the budget that is nearest to allowing one.
#include "scheduler/explain_binding.h"

namespace tessera {
namespace {

struct Step {
  const ShardChoice* shard = nullptr;
  const BitsCandidate* to = nullptr;
  std::string text() const {
    const std::string slice = "slice " + std::to_string(shard->id.slice);
    if (to->bits == kExact) return slice + " exact";
    return slice + " at " + std::to_string(to->bits) + (to->bits == 1 ? " bit" : " bits");
  }
};

// The nearest steps up of each kind.
struct Nearest {
  Step better, late, memory, other;
  int better_count = 0;
  bool any = false;

  void see(const ShardChoice& shard, const BitsCandidate& to) {
    const Step step{&shard, &to};
    const Outcome& outcome = to.outcome;
    any = true;
    if (outcome.verdict == Verdict::kBetter) {
      ++better_count;
      if (better.to == nullptr || outcome.loss_change < better.to->outcome.loss_change) better = step;
    } else if (outcome.verdict == Verdict::kLate) {
      if (late.to == nullptr || outcome.late_by < late.to->outcome.late_by) late = step;
    } else if (outcome.verdict == Verdict::kMemory) {
      const Bytes now = outcome.short_by.value_or(kUnlimited);
      if (memory.to == nullptr || now < memory.to->outcome.short_by.value_or(kUnlimited)) memory = step;
    } else if (other.to == nullptr || outcome.verdict == Verdict::kUnknown) {
      other = step;
    }
  }
};

}  // namespace

std::string binding_of(const std::vector<ShardChoice>& shards) {
  Nearest nearest;
  for (const ShardChoice& shard : shards)
    for (const BitsCandidate& candidate : shard.candidates)
      if (candidate.bits > shard.chosen) {
        nearest.see(shard, candidate);
        break;
      }
  // The candidates ascend, so that the first above the chosen one is the next step.
  if (!nearest.any) return "nothing: whole and exact";
  if (nearest.better.to != nullptr)
    return "the policy: " + std::to_string(nearest.better_count) +
           (nearest.better_count == 1 ? " next step fits, " : " next steps fit, ") + nearest.better.text() +
           (nearest.better_count == 1 ? "" : " gains most");
  std::string text;
  if (nearest.late.to != nullptr) text = "latency: " + nearest.late.text() + " is " + nearest.late.to->outcome.why;
  if (nearest.memory.to != nullptr)
    text += (text.empty() ? "" : "; ") + ("memory: " + nearest.memory.text() + " " + nearest.memory.to->outcome.why);
  if (!text.empty()) return text;
  const Outcome& outcome = nearest.other.to->outcome;
  return (outcome.verdict == Verdict::kUnknown ? "not known: " : "nothing to gain: ") + nearest.other.text() + " " +
         outcome.why;
}

}  // namespace tessera
