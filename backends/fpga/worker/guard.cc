// Handles signals and the backend's end.
#include "backends/fpga/worker/guard.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/fpga/protocol.h"

namespace tessera::fpga {
namespace {

void ignore(int signal) {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  ::sigaction(signal, &action, nullptr);
}

void reset(int signal) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
}

// The only child that lives on after the load is the device model. Async-signal-safe.
void on_child(int, siginfo_t* info, void*) {
  char text[64] = "the device model was ended by signal ";
  if (info->si_code == CLD_EXITED) std::memcpy(text, "the device model left with code  ", 34);
  size_t length = std::strlen(text);
  const int number = info->si_status;
  if (number >= 100) text[length++] = static_cast<char>('0' + number / 100 % 10);
  if (number >= 10) text[length++] = static_cast<char>('0' + number / 10 % 10);
  text[length++] = static_cast<char>('0' + number % 10);
  text[length++] = '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, length);
  ::_exit(kExitDeviceLost);
}

void end_session(const std::string& run_folder) {
  std::error_code ignored;
  std::filesystem::remove_all(run_folder, ignored);
  ::kill(0, SIGKILL);  // the device model, and this process
}

}  // namespace

void become_a_session(int backend_pid) {
  ::setsid();
  // A stopped process could not see its backend end: the signal wakes it, and the watching thread does the rest.
  ::prctl(PR_SET_PDEATHSIG, SIGCONT);
  if (::getppid() != backend_pid) ::_exit(kExitQuit);  // it died before
  ignore(SIGPIPE);
  ignore(SIGINT);
  ignore(SIGHUP);
}

void watch_backend(const std::string& run_folder) {
  std::thread([run_folder] {
    std::array<pollfd, kChannels> ends;
    for (int c = 0; c < kChannels; ++c) ends[static_cast<size_t>(c)] = {kFirstSocket + c, POLLRDHUP, 0};
    while (::poll(ends.data(), ends.size(), -1) < 0 && errno == EINTR) {}
    end_session(run_folder);
  }).detach();
}

void take_over_signals() {
  ignore(SIGPIPE);
  for (const int signal : {SIGSEGV, SIGFPE, SIGABRT, SIGUSR1, SIGTERM}) reset(signal);
  struct sigaction action {};
  action.sa_sigaction = &on_child;
  action.sa_flags = SA_SIGINFO | SA_NOCLDSTOP | SA_RESTART;
  ::sigaction(SIGCHLD, &action, nullptr);
}

// The model is the only other process of the session. A card's worker has none.
void end_model() {
  reset(SIGCHLD);
  ignore(SIGTERM);
  ::kill(0, SIGTERM);
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {}
}

}  // namespace tessera::fpga
