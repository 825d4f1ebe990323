// Plans bitwidths by accumulated IO budgets (AIB): STI's recurrence for infinite memory.
//
//   io:      rows │ layer 0 │ layer 1 │ layer 2 ...          left(k) = embed + head + k * T_comp - io of layers 0..k
//   compute:      │embed│head│ layer 0  │ layer 1  │ ...     no stall while every left(k) >= 0
//
// `head` is how long layer 0 waits for what of it is not resident. Everything in whole nanoseconds.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "policies/parts/assembly.h"
#include "policies/parts/costs.h"

namespace tessera {

enum class Head {
  kLayerZero,  // as published: exactly layer 0's own load, nothing where it is resident
  kAllSlack,   // all that compute leaves of the target: IO may start earlier, and stalls are paid from it
};

// One step of pass 2.
struct Upgrade {
  ShardId id;
  Bits from = kAbsent, to = kAbsent;
  int rank = 0;   // by importance, from 1
  Duration left;  // of the tightest budget that it was charged to
};

// One submodel under one residency. Lives as long as one decision.
class IoPlan {
 public:
  IoPlan(const PlanningView& view, const Residency& residency, Costs& costs, Size size);

  // Pass 1: every shard that is not resident at `base`. True where compute with its overheads keeps the latency budget and
  // every AIB is at least 0.
  bool start(Bits base, Head head);
  // Whether compute (with layer 0's load before it) alone keeps the latency budget, whatever the AIBs.
  bool computes_in_time() const { return in_time_; }
  // Every AIB holds and compute does not wait for layer 0, whatever the latency budget (of a start with Head::kLayerZero).
  bool never_stalls() const { return head_.ns == 0 && tightest_from(0).ns >= 0; }
  // Pass 2: rung by rung through `ladder`, each rung in importance order, every shard that fits is raised; one that does
  // not fit is left, and the pass goes on after it.
  std::vector<Upgrade> raise(const std::vector<ShardId>& importance, const std::vector<Bits>& ladder);
  // Of the plan as it stands.
  const std::vector<Bits>& bits() const { return bits_; }

 private:
  struct Group {
    int count = 0;
    int64_t bytes = 0;
    Duration time;
  };
  void add_to(Group& group, Bits bits, ShardId id, int sign);
  bool is_resident(ShardId id) const { return resident_[index(id)] == bits_[index(id)]; }
  size_t index(ShardId id) const { return static_cast<size_t>(id.layer) * view_.shape.slices + id.slice; }
  bool try_raise(ShardId id, Bits to, Upgrade& done);
  Duration tightest_from(int layer) const;

  const PlanningView& view_;
  const Residency& residency_;
  Costs& costs_;
  const Size size_;
  Duration rows_, embed_, exit_, exit_load_;
  Duration head_;
  bool in_time_ = false;
  std::vector<Bits> bits_;                             // [depth][M]
  std::vector<Bits> resident_;                         // [depth][M], absent where not resident
  std::vector<std::array<Group, kBitsLevels>> loads_;  // [depth]
  std::vector<Duration> left_;                         // [depth + 1]; the last is the exit head's
};

}  // namespace tessera
