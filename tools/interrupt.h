// Turns Ctrl-C into a request to stop: the first asks, the second kills.
#pragma once

#include <atomic>

#include "scheduler/session.h"

namespace tessera {

// Installs the handlers of SIGINT and SIGTERM. Call once, from main.
void watch_interrupts();
// Set by the first signal; long work polls it.
const std::atomic<bool>& interrupted();

// While alive, a signal also cancels the session's running request. At most one at a time.
class CancelOnInterrupt {
 public:
  explicit CancelOnInterrupt(Session& session);
  ~CancelOnInterrupt();
  CancelOnInterrupt(const CancelOnInterrupt&) = delete;
  CancelOnInterrupt& operator=(const CancelOnInterrupt&) = delete;
};

Error interrupted_error(const char* what);

}  // namespace tessera
