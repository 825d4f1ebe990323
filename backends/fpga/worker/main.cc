// Runs the worker of one FPGA: opens the device through XRT, then answers the backend on three channels until it quits.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <thread>

#include <sys/mman.h>
#include <unistd.h>

#include "backends/fpga/channel.h"
#include "backends/fpga/worker/environment.h"
#include "backends/fpga/worker/guard.h"
#include "backends/fpga/worker/program.h"

namespace tessera::fpga {
namespace {

Reply refusal(Outcome outcome, const char* why) {
  Reply reply;
  reply.outcome = outcome;
  std::snprintf(reply.text, sizeof reply.text, "%s", why);
  return reply;
}

// What one channel's thread has: its mailbox, and its own runs.
class Server {
 public:
  Server(int channel, Session& session) : socket_(kFirstSocket + channel), session_(session), runner_(session) {
    void* mailbox = ::mmap(nullptr, kMailboxBytes, PROT_READ, MAP_SHARED, kFirstMailbox + channel, 0);
    if (mailbox == MAP_FAILED) throw std::bad_alloc();
    steps_ = static_cast<const Step*>(mailbox);
  }
  // Until the backend quits.
  void serve();

 private:
  Reply answer(const Request& request, int fd);
  Reply create(const Request& request, int fd);
  Reply hello() const;

  int socket_;
  Session& session_;
  ProgramRunner runner_;
  const Step* steps_ = nullptr;
};

Reply Server::hello() const {
  Reply reply;
  std::snprintf(reply.text, sizeof reply.text, "%s", session_.device_name().c_str());
  return reply;
}

Reply Server::create(const Request& request, int fd) {
  if (fd < 0 || request.bytes <= 0) return refusal(Outcome::kRefused, "a region without memory");
  try {
    session_.create(request.region, request.bytes, fd);
  } catch (const std::exception& e) { return refusal(Outcome::kNoMemory, e.what()); }
  return {};
}

Reply Server::answer(const Request& request, int fd) {
  if (request.version != kProtocolVersion) return refusal(Outcome::kRefused, "the backend speaks another version");
  switch (request.call) {
    case Call::kHello:
      return hello();
    case Call::kCreate:
      return create(request, fd);
    case Call::kDestroy:
      session_.destroy(request.region);
      return {};
    case Call::kProgram:
      if (request.count > static_cast<uint32_t>(kMaxSteps))
        return refusal(Outcome::kRefused, "more steps than a mailbox has");
      return runner_.run({steps_, request.count}, std::chrono::milliseconds(request.limit_ms));
    case Call::kPing:
    case Call::kQuit:
      return {};
  }
  return refusal(Outcome::kRefused, "an unknown call");
}

void Server::serve() {
  for (;;) {
    int fd = -1;
    const auto request = receive_request(socket_, &fd);
    // The backend is gone: watch_backend() ends the session, and this thread must not end the process before that.
    while (!request) ::pause();
    Reply reply = answer(*request, fd);
    reply.sequence = request->sequence;
    send_reply(socket_, reply);
    // XRT cannot give up a run: a worker with one that does not end is of no more use.
    if (reply.outcome == Outcome::kLate) ::_exit(kExitLate);
    if (request->call == Call::kQuit) return;
  }
}

// Ends without destroying what other threads use, and without XRT's teardown of a card's runs that hang.
void serve_all(Session& session) {
  std::array<std::unique_ptr<Server>, kChannels> servers;
  for (int c = 0; c < kChannels; ++c) servers[static_cast<size_t>(c)] = std::make_unique<Server>(c, session);
  for (const int c : {kComputeChannel, kLinkChannel})
    std::thread([&server = *servers[static_cast<size_t>(c)]] { server.serve(); }).detach();
  servers[kControlChannel]->serve();
  for (auto& server : servers) static_cast<void>(server.release());
}

int run(int argc, char** argv) {
  WorkerArguments arguments;
  const char* backend = std::getenv("TESSERA_FPGA_BACKEND_PID");  // NOLINT(concurrency-mt-unsafe): one thread yet
  if (!read_arguments(argc, argv, &arguments) || backend == nullptr) {
    std::fprintf(stderr, "tessera-fpga-worker is started by tessera's FPGA backend, not by hand\n");
    return kExitUsage;
  }
  become_a_session(std::atoi(backend));
  if (const std::string why = prepare_environment(arguments); !why.empty()) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return kExitNoDevice;
  }
  watch_backend(arguments.run_folder);
  try {
    // Never destroyed: a device that hangs would hang the teardown too.
    auto* session = new Session(arguments.index, arguments.xclbin);
    take_over_signals();
    serve_all(*session);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::fflush(stderr);
    ::_exit(kExitNoDevice);
  }
  std::fflush(stdout);
  end_model();
  ::_exit(kExitQuit);
}

}  // namespace
}  // namespace tessera::fpga

int main(int argc, char** argv) { return tessera::fpga::run(argc, argv); }
