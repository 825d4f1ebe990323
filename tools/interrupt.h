// Turns Ctrl-C into a request to stop where work polls for it: there the first asks and the second kills. Elsewhere the
// first ends the process at once: there is nothing to keep, and nothing half-written.
#pragma once

#include <atomic>

#include "scheduler/session.h"

namespace tessera {

// Installs the handlers of SIGINT and SIGTERM. Call once, from main.
void watch_interrupts();
// Set by the first signal; long work polls it.
const std::atomic<bool>& interrupted();

// While one is alive, somebody polls interrupted(), or writes a file that is not to be left half-written.
class InterruptsPolled {
 public:
  InterruptsPolled();
  ~InterruptsPolled();
  InterruptsPolled(const InterruptsPolled&) = delete;
  InterruptsPolled& operator=(const InterruptsPolled&) = delete;
};

// While alive, a signal also cancels the session's running request. At most one at a time.
class CancelOnInterrupt {
 public:
  explicit CancelOnInterrupt(Session& session);
  ~CancelOnInterrupt();
  CancelOnInterrupt(const CancelOnInterrupt&) = delete;
  CancelOnInterrupt& operator=(const CancelOnInterrupt&) = delete;

 private:
  InterruptsPolled polled_;
};

Error interrupted_error(const char* what);

}  // namespace tessera
