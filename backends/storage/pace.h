// Imitates a slower disk: says when a read of so many bytes would have ended on it.
#pragma once

#include <algorithm>

#include "framework/units.h"

namespace tessera::storage {

// A disk that moves bytes one read after another at a fixed bandwidth. Idle time is lost, as on a disk; but where the next
// load follows the last one at once, it starts when that one ended on the imitated disk, not when this machine got round to
// noticing: else every load would add a late wake-up to the imitation.
class Pace {
 public:
  explicit Pace(BytesPerSecond cap) : cap_(cap) {}
  bool limited() const { return cap_.value > 0; }
  // When a read issued at `now` ends; reads end in the order of these calls.
  Duration end_of(int64_t bytes, Duration now) {
    const bool at_once = now - delivered_ < kTurnaround;
    const Duration start = std::max(free_at_, at_once ? now - kLatest : now);
    free_at_ = start + from_seconds(static_cast<double>(bytes) / cap_.value);
    return free_at_;
  }
  // A read was handed over at `now`.
  void delivered(Duration now) { delivered_ = now; }

 private:
  static constexpr Duration kTurnaround = microseconds(300);  // between the end of a load and the next one
  static constexpr Duration kLatest = milliseconds(10);       // a wake-up that is later than this counts as idle time
  const BytesPerSecond cap_;
  Duration free_at_{INT64_MIN / 2};
  Duration delivered_{INT64_MIN / 2};
};

}  // namespace tessera::storage
