// Carries tasks forward on a simulated machine whose speeds change: each has work left, and every change is an event.
//
//   work of a task   nominal ns x jitter ppm x request ppm                     [ns x ppm, 128 bits, exact]
//   speed of a lane  swing x share of bandwidth x frequency x throttle / contention
//                    [ppm, each product rounded down, at least 1]
//   an event         the first instant at which a task ends, fails, or a speed changes; all work falls by speed x time
//
// The same integers in the same order everywhere. Ties have no order: speeds depend on which lanes run, not since when.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/dynamics.h"
#include "framework/result.h"

namespace tessera {

// When a run happens on its machine, and with whose luck.
struct RunMoment {
  Duration starts_at;    // since the machine began
  uint64_t request = 0;  // requests of equal numbers draw equally
  uint32_t attempt = 0;  // of the request: 0, and one more after each take-over
  bool first = false;    // of its session
};

// One machine's state through time, shared by all that run on it; one run at a time, one thread.
class SimulatedMachine {
 public:
  // Of a checked description (check_dynamics).
  SimulatedMachine(Dynamics dynamics, int devices);
  ~SimulatedMachine();
  SimulatedMachine(const SimulatedMachine&) = delete;
  SimulatedMachine& operator=(const SimulatedMachine&) = delete;

  const Dynamics& dynamics() const;
  // As it was when made, with another seed.
  void restart(uint64_t seed);
  // How far it was simulated.
  Duration now() const;
  // What passes between a request's arrival and its first task.
  Duration setup(uint64_t request, bool first) const;
  // What is known of a device at now().
  struct DeviceState {
    int64_t speed = kPpm;  // of a task on it alone: frequency x throttle x swing
    int64_t heat = 0;      // microkelvin
    bool throttled = false, lost = false;
  };
  DeviceState state(DeviceId device) const;

  // ---- for the virtual executor

  // Devices idle until `moment`; where it lies before now(), the machine begins anew and idles until then.
  void begin(const RunMoment& moment);
  // A task of so much nominal time starts now; it fails at `limit` (since the run's start; kForever: never). An error where
  // the device is lost.
  Status start(const Task& task, Duration nominal, Duration limit);
  // Moves on to the next instant at which tasks end or fail, or to `until` where that comes first; since the run's start.
  Duration advance(Duration until);
  // kEndless: speeds changed 2,000,000 times in this run, and it did not end.
  enum class Outcome : uint8_t { kRunning, kEnded, kOverdue, kLost, kEndless };
  // What became of the device's task at this instant; anything but kRunning takes it off the device.
  Outcome collect(DeviceId device);
  // What a task died of that ended as kLost or kEndless.
  Error why(DeviceId device, Outcome outcome) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera
