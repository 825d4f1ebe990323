// Follows how fast one simulated device is: its swing, its heat and its frequency.
#pragma once

#include <cstdint>

#include "framework/dynamics.h"

namespace tessera {

// A state that moves forward in time only. Copyable; the description outlives it.
class DeviceSpeed {
 public:
  DeviceSpeed(const DeviceDynamics& dynamics, DeviceId device, uint64_t seed)
      : dynamics_(&dynamics), device_(device), seed_(seed), heat_(dynamics.thermal.start) {
    throttle();
  }
  // Passes time until `to`, busy or idle throughout, changes at `to` included. What would change nothing is skipped, so a
  // long rest costs no more than cooling down.
  void pass(Duration to, bool busy);
  // When swing, heat or frequency may next change where the device is busy; after at().
  Duration next_change() const;
  Duration at() const { return at_; }
  // ppm, each: of the bandwidth at at(); of the frequency level; of throttling.
  int64_t swing() const;
  int64_t frequency() const;
  int64_t throttled_to() const { return throttled_ ? dynamics_->thermal.slowed : kPpm; }
  bool throttled() const { return throttled_; }
  int64_t heat() const { return heat_; }
  bool lost() const { return at_ >= dynamics_->lost_at; }

 private:
  struct Step {
    int64_t number = 0;
    Duration until;
  };
  Step swing_step() const;
  int64_t walk(int64_t step) const;
  int64_t power() const;
  Duration heat_tick() const;
  Duration next_tick() const;
  Duration next_sample() const;
  void warm();
  void govern();
  void throttle();

  const DeviceDynamics* dynamics_;
  DeviceId device_;
  uint64_t seed_;
  Duration at_;
  int64_t heat_;  // microkelvin
  bool throttled_ = false;
  size_t level_ = 0;
  __int128 worked_ = 0;  // since the last tick: ppm of full power x ns
  Duration busy_;        // since the governor's last sample
  // The last step of a walk that was asked for.
  mutable int64_t walked_step_ = -1, walked_value_ = 0;
};

}  // namespace tessera
