// Reads the machine's steady clock.
#include "framework/clock.h"

#include <chrono>

namespace tessera {

Duration WallClock::now() const {
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count()};
}

const WallClock& WallClock::instance() {
  static const auto* const clock = new WallClock;  // never destroyed: threads may ask for it until the process is gone
  return *clock;
}

}  // namespace tessera
