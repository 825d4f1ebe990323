// Imitates a slower disk: says when a read of so many bytes would have ended on it.
#pragma once

#include <algorithm>

#include "framework/units.h"

namespace tessera::storage {

// A disk that moves bytes one read after another at a fixed bandwidth. Idle time is lost, as on a disk, except for the short
// gap between two tasks that the machine's own wake-ups take: else each task would add its wake-up to the imitation.
class Pace {
 public:
  explicit Pace(BytesPerSecond cap) : cap_(cap) {}
  bool limited() const { return cap_.value > 0; }
  // When a read issued at `now` ends; reads end in the order of these calls.
  Duration end_of(int64_t bytes, Duration now) {
    const Duration start = std::max(free_at_, now - kGap);
    free_at_ = start + from_seconds(static_cast<double>(bytes) / cap_.value);
    return free_at_;
  }

 private:
  static constexpr Duration kGap = microseconds(200);
  const BytesPerSecond cap_;
  Duration free_at_{INT64_MIN / 2};
};

}  // namespace tessera::storage
