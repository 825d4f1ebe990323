// Sees to it that nothing of this process outlives the backend, or survives the device.
#pragma once

#include <string>

namespace tessera::fpga {

// Exit codes of the worker, read by the backend (worker_process.cc).
inline constexpr int kExitQuit = 0, kExitNoDevice = 70, kExitDeviceLost = 71, kExitLate = 72, kExitUsage = 2;

// At the very start, on the main thread: an own session, so that XRT's kill(0, ...) reaches only this process and the device
// model; a signal when the backend dies.
void become_a_session(int backend_pid);
// Watches the backend's ends of the channels from a thread of its own: when they are gone, removes the run folder and ends
// the whole session.
void watch_backend(const std::string& run_folder);
// After the first load, which installs XRT's handlers: a dead device model ends this process at once, with a code that says
// so, instead of XRT's kill(0, SIGTERM) and exit(1).
void take_over_signals();

// Before this process leaves in order: ends the device model and reaps it.
void end_model();

}  // namespace tessera::fpga
