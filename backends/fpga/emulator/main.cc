// Runs the emulated FPGA: the process that XRT's software-emulation shim starts and speaks to.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backends/fpga/emulator/device_model.h"

namespace tessera::fpga {
namespace {

constexpr int kConnectTries = 30'000;  // of 1 ms: the shim binds its socket after it has started this process

std::string text_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

// A signal, not exit(): XRT takes an orderly end for "try again" and reads for ever.
[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "tessera device model: %s\n", why.c_str());
  std::fflush(stderr);
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

// The shim listens at /tmp/$USER/$EMULATION_SOCKETID.
int connect_to_shim() {
  const std::string path = "/tmp/" + text_of("USER") + "/" + text_of("EMULATION_SOCKETID");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) die("the path of the socket is too long: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("no socket: " + std::string(std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe): one thread yet
  for (int i = 0; i < kConnectTries; ++i) {
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  die("nobody listens at " + path);
}

int run() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "tessera-fpga-em");
  FaultPlan faults(parse_fault(text_of("TESSERA_EMULATOR_FAULT")),
                   std::strtoull(text_of("TESSERA_FPGA_LIFE").c_str(), nullptr, 10));
  DeviceModel model(faults);
  const int shim = connect_to_shim();
  for (bool last = false; !last;) {
    const auto request = read_request(shim);
    if (!request) break;  // XRT's process is gone
    const auto response = model.answer(*request, &last);
    if (!response) die("call " + std::to_string(static_cast<uint32_t>(request->call)) + " is not known");
    if (!write_response(shim, *response)) break;
  }
  std::fflush(stderr);
  ::_exit(0);  // without waiting for a compute unit that hangs
}

}  // namespace
}  // namespace tessera::fpga

int main() { return tessera::fpga::run(); }
