// Spawns the worker with its ends of the channels at fixed descriptors.
#include "backends/fpga/worker_process.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/fpga/worker/guard.h"

namespace tessera::fpga {
namespace {

// XRT's emulation binds its sockets in /tmp/$USER and opens the kernels from its run folder: both are this one.
constexpr char kFolder[] = "/tmp/tessera-fpga-XXXXXX";
constexpr int kAboveWorkers = 32;  // descriptors that no file action overwrites
constexpr size_t kLongestWords = 200;

std::string reason() { return std::error_code(errno, std::generic_category()).message(); }

int raised(int fd) {
  const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, kAboveWorkers);
  ::close(fd);
  return high;
}

// This process's environment, and who the backend is.
std::vector<std::string> worker_environment() {
  std::vector<std::string> all;
  for (char** e = environ; *e != nullptr; ++e) all.emplace_back(*e);
  all.push_back("TESSERA_FPGA_BACKEND_PID=" + std::to_string(::getpid()));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

std::string meaning(const siginfo_t& info) {
  if (info.si_code != CLD_EXITED) return "its worker was ended by signal " + std::to_string(info.si_status);
  switch (info.si_status) {
    case kExitQuit:
      return "its worker has quit";
    case kExitNoDevice:
      return "its worker could not open the device";
    case kExitDeviceLost:
      return "its device was lost";
    case kExitLate:
      return "its device hung";
    default:
      return "its worker left with code " + std::to_string(info.si_status);
  }
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(const WorkerPlan& plan, uint64_t life, Moment deadline) {
  std::unique_ptr<WorkerProcess> made(new WorkerProcess());
  made->life_ = life;
  const auto fail = [&](const Error& e) {
    return Error{e.code, "device " + plan.device + ": cannot start its worker: " + e.message};
  };
  if (const Status s = made->prepare(plan); !s.ok()) return fail(s.error());
  if (const Status s = made->spawn(plan); !s.ok()) return fail(s.error());
  if (const Status s = made->greet(plan, deadline); !s.ok()) return fail(s.error());
  return made;
}

// Folder, sockets, mailboxes.
Status WorkerProcess::prepare(const WorkerPlan& plan) {
  run_folder_ = kFolder;
  if (::mkdtemp(run_folder_.data()) == nullptr) {
    run_folder_.clear();
    return Error{ErrorCode::kDevice, "no folder in /tmp: " + reason()};
  }
  struct statvfs system {};
  if (plan.emulated && ::statvfs(run_folder_.c_str(), &system) == 0 && (system.f_flag & ST_NOEXEC) != 0)
    return Error{ErrorCode::kUnavailable, "/tmp is mounted noexec, and kernels are opened from there; mount it exec"};
  for (Line& line : lines_) {
    TESSERA_ASSIGN(line.mailbox, SharedMemory::make(kMailboxBytes));
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      return Error{ErrorCode::kDevice, "no socket: " + reason()};
    line.socket = ends[0];
    line.worker_socket = raised(ends[1]);
  }
  return {};
}

Status WorkerProcess::spawn(const WorkerPlan& plan) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, (run_folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::array<int, kChannels> mailboxes{};
  for (int c = 0; c < kChannels; ++c) {
    const Line& line = lines_[static_cast<size_t>(c)];
    mailboxes[static_cast<size_t>(c)] = ::fcntl(line.mailbox.fd(), F_DUPFD_CLOEXEC, kAboveWorkers);
    posix_spawn_file_actions_adddup2(&actions, line.worker_socket, kFirstSocket + c);
    posix_spawn_file_actions_adddup2(&actions, mailboxes[static_cast<size_t>(c)], kFirstMailbox + c);
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, kFirstMailbox + kChannels);
  sigset_t none, all;
  sigemptyset(&none), sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);  // a SIGCHLD that is ignored would keep XRT waiting for ever
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> arguments = {
      plan.worker,          plan.emulated ? "emulated" : "card", plan.xclbin,          run_folder_,
      plan.emulator_folder, std::to_string(plan.index),          std::to_string(life_)};
  std::vector<std::string> environment = worker_environment();
  pid_t pid = -1;
  const int failed = ::posix_spawn(&pid, plan.worker.c_str(), &actions, &attributes, pointers(arguments).data(),
                                   pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  for (const int fd : mailboxes) ::close(fd);
  for (Line& line : lines_) ::close(std::exchange(line.worker_socket, -1));
  if (failed != 0) {
    return Error{ErrorCode::kUnavailable, plan.worker + ": " + std::error_code(failed, std::generic_category()).message()};
  }
  pid_ = pid;
  handle_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (handle_ < 0) return Error{ErrorCode::kUnavailable, "no pidfd: " + reason() + "; it needs Linux 5.3"};
  return {};
}

Status WorkerProcess::greet(const WorkerPlan& plan, Moment deadline) {
  Request hello;
  hello.call = Call::kHello;
  Reply reply;
  switch (call(kControlChannel, hello, -1, deadline, &reply)) {
    case Passage::kOk:
      device_name_ = reply.text;
      return {};
    case Passage::kLate:
      kill();
      return Error{ErrorCode::kDevice, "it does not open the device in time (" + plan.xclbin + ")" + last_words()};
    case Passage::kGone:
      break;
  }
  kill();
  return Error{ErrorCode::kDevice, end() + " (" + plan.xclbin + ")"};
}

WorkerProcess::~WorkerProcess() {
  if (pid_ > 0) {
    kill();
    end();
  }
  for (const Line& line : lines_) {
    if (line.socket >= 0) ::close(line.socket);
    if (line.worker_socket >= 0) ::close(line.worker_socket);
  }
  if (handle_ >= 0) ::close(handle_);
  std::error_code ignored;
  if (!run_folder_.empty()) std::filesystem::remove_all(run_folder_, ignored);
}

Passage WorkerProcess::run(Channel channel, std::span<const Step> steps, std::chrono::milliseconds limit, Moment deadline,
                           Reply* reply) {
  Line& line = lines_[static_cast<size_t>(channel)];
  const std::lock_guard lock(line.one_at_a_time);
  std::memcpy(line.mailbox.data(), steps.data(), steps.size_bytes());
  Request request;
  request.call = Call::kProgram;
  request.count = static_cast<uint32_t>(steps.size());
  request.limit_ms = static_cast<uint32_t>(limit.count());
  return call_locked(channel, request, -1, deadline, reply);
}

Passage WorkerProcess::call(Channel channel, Request request, int fd, Moment deadline, Reply* reply) {
  const std::lock_guard lock(lines_[static_cast<size_t>(channel)].one_at_a_time);
  return call_locked(channel, request, fd, deadline, reply);
}

Passage WorkerProcess::call_locked(Channel channel, Request request, int fd, Moment deadline, Reply* reply) {
  Line& line = lines_[static_cast<size_t>(channel)];
  request.sequence = ++line.sequence;
  const Passage sent = send_request(line.socket, request, fd);
  return sent == Passage::kOk ? receive_reply(line.socket, handle_, request.sequence, deadline, reply) : sent;
}

bool WorkerProcess::has_ended() const {
  pollfd end = {handle_, POLLIN, 0};
  return ::poll(&end, 1, 0) > 0;
}

// Its group is its session's: the device model dies with it. The id is not given anew before end() has reaped it.
void WorkerProcess::kill() const {
  const std::lock_guard lock(ending_);
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
}

std::string WorkerProcess::end() {
  if (pid_ <= 0) return "its worker has ended";
  siginfo_t info{};
  const auto id = static_cast<id_t>(pid_.load());
  // Seen, not reaped: its id, and its group's, stay its own until the group is gone.
  while (::waitid(P_PID, id, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {}
  {
    const std::lock_guard lock(ending_);
    ::kill(-pid_, SIGKILL);
    while (::waitid(P_PID, id, &info, WEXITED) != 0 && errno == EINTR) {}
    pid_ = -1;
  }
  const std::string words = last_words();
  std::error_code ignored;
  std::filesystem::remove_all(run_folder_, ignored);
  run_folder_.clear();
  return meaning(info) + words;
}

// The last line that XRT, the worker or the device model wrote.
std::string WorkerProcess::last_words() const {
  std::ifstream log(run_folder_ + "/log");
  std::string line, last;
  while (std::getline(log, line))
    if (!line.empty()) last = line;
  return last.empty() ? "" : ": " + last.substr(0, kLongestWords);
}

}  // namespace tessera::fpga
