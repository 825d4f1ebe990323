// Tells another process when a policy's call began, so that one that never returns can be ended.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace tessera {

// Lies in memory shared between a worker (writes) and who watches it (reads).
struct PolicyPulse {
  std::atomic<int64_t> since_ns{0};  // CLOCK_MONOTONIC; 0: no policy's call is running
  std::atomic<int32_t> who{-1};      // index into policies().entries() of the policy that is called
};
static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<int32_t>::is_always_lock_free);

// Registers each policy once more under watched_name(): decorators that show `pulse` every call. `pulse` lives as long as
// the process. The second time does nothing.
void watch_policies(PolicyPulse& pulse);
std::string watched_name(const std::string& policy);

}  // namespace tessera
