// Tells the time: of the machine, or of a simulation.
#pragma once

#include "framework/units.h"

namespace tessera {

// Time since the clock's own epoch. WallClock: steady, safe from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Duration now() const = 0;
};

// std::chrono::steady_clock. One instance serves the process.
class WallClock final : public Clock {
 public:
  Duration now() const override;
  static const WallClock& instance();
};

// Moves only when told to; used by one thread. Exact: whole nanoseconds.
class VirtualClock final : public Clock {
 public:
  Duration now() const override { return now_; }
  // Never moves backwards: an earlier time is ignored.
  void advance_to(Duration t) {
    if (t > now_) now_ = t;
  }

 private:
  Duration now_;
};

}  // namespace tessera
