// Allots bits on one device: sizes that are in time, raises that fit, and what to hold before a request.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "policies/parts/choices.h"
#include "policies/parts/nearest.h"
#include "policies/parts/stage_clock.h"
#include "policies/parts/trials.h"

namespace tessera {

// One shard to more bits.
struct Raise {
  ShardId id;
  Bits to = kAbsent;
};

// Lives as long as one decision, on its thread. Where the device computes in host memory and memory makes nothing wait, what
// the clock allows is what the replay allows.
class OneDevice {
 public:
  OneDevice(Trials& trials, const Choices& choices);
  const PlanningView& view() const { return view_; }
  const Choices& choices() const { return choices_; }
  StageClock& clock() { return clock_; }
  // Losses to rank by: the view's, or (a model without a profile of this shape) drawn from the request's seed.
  const AccuracyModel& accuracy() const { return invented_ ? *invented_ : view_.accuracy; }

  // The deepest, then widest size that keeps the budgets at the lowest bits: by the clock, and then by the replay.
  std::optional<Size> largest();
  // Every size that the clock has in time at the lowest bits, by depth, then width. O(shards + sizes).
  std::vector<Size> sizes_in_time();
  bool in_time(int depth, const std::vector<Bits>& bits);
  // What is resident as it is held, all else at the lowest bits.
  std::vector<Bits> lowest(Size size) const;
  // `bits` after those of `raises` that fit, in their order; `raises` are then only those. O(log layers) a raise.
  std::vector<Bits> raised(int depth, std::vector<Bits> bits, std::vector<Raise>& raises);
  // The plan that keeps the budgets with as many of `raises` above `bits` as the replay allows, the first before the others.
  std::optional<Plan> fitting(int depth, const std::vector<Bits>& bits, const std::vector<Raise>& raises);
  // Where nothing larger fits.
  Result<Decision> smallest();

 private:
  std::optional<Plan> fits(int depth, std::vector<Bits> bits);
  void set(std::vector<Bits>& bits, const Raise& raise) const;

  Trials& trials_;
  const PlanningView& view_;
  const Choices& choices_;
  StageClock clock_;
  std::optional<AccuracyModel> invented_;
};

// The bottom shards of the plans that `decide` finds with them, as STI's buffer is filled, as long as that loses less.
Result<Residency> preload_for(const PlanningView& view, const Choices& choices,
                              const std::function<Result<Decision>(const Residency&)>& decide);

}  // namespace tessera
