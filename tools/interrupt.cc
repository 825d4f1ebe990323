// Handles SIGINT and SIGTERM with nothing but lock-free atomics.
#include "tools/interrupt.h"

#include <csignal>
#include <string>
#include <string_view>

#include <unistd.h>

#include "tools/exit_codes.h"

namespace tessera {
namespace {

std::atomic<bool> g_interrupted{false};
std::atomic<int> g_polled{0};  // InterruptsPolled alive
std::atomic<Session*> g_session{nullptr};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
                  std::atomic<Session*>::is_always_lock_free,
              "used in a signal handler");

extern "C" void on_signal(int) {
  if (g_interrupted.exchange(true)) _exit(kExitInterrupted);
  if (g_polled.load() == 0) {
    constexpr std::string_view kWord = "tessera: interrupted\n";
    (void)!::write(STDERR_FILENO, kWord.data(), kWord.size());
    _exit(kExitInterrupted);
  }
  if (Session* session = g_session.load()) session->cancel();
}

}  // namespace

void watch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // A reader that went away (`tessera ... | head`) shows as a failed write, not as a killed process.
  std::signal(SIGPIPE, SIG_IGN);
}

const std::atomic<bool>& interrupted() { return g_interrupted; }

InterruptsPolled::InterruptsPolled() { g_polled.fetch_add(1); }
InterruptsPolled::~InterruptsPolled() { g_polled.fetch_sub(1); }

CancelOnInterrupt::CancelOnInterrupt(Session& session) { g_session.store(&session); }
CancelOnInterrupt::~CancelOnInterrupt() { g_session.store(nullptr); }

Error interrupted_error(const char* what) { return {ErrorCode::kCancelled, std::string(what) + " stopped on request"}; }

}  // namespace tessera
