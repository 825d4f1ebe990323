// Forks workers, deals jobs, listens, and ends who takes too long.
#include "tools/worker_pool.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <new>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "framework/clock.h"
#include "framework/registry.h"
#include "tools/interrupt.h"

namespace tessera {
namespace {

constexpr int kPollMs = 50;
constexpr int kFarewells = 200;           // moments of 5 ms that a process may take to end once its channel is closed
constexpr std::string_view kLast = "= ";  // marks a job's answer; other lines are told ahead of it

Error system_error(const char* what) {
  return {ErrorCode::kInternal, std::string("workers: ") + what + ": " + std::generic_category().message(errno)};
}

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// Whole lines of what has been read so far.
class LineBuffer {
 public:
  void add(const char* bytes, size_t n) { text_.append(bytes, n); }
  std::optional<std::string> next() {
    const size_t end = text_.find('\n', from_);
    if (end == std::string::npos) {
      text_.erase(0, from_);
      from_ = 0;
      return std::nullopt;
    }
    std::string line = text_.substr(from_, end - from_);
    from_ = end + 1;
    return line;
  }

 private:
  std::string text_;
  size_t from_ = 0;
};

// In the child: jobs come as numbers, one a line, until the parent closes. An exception is a crash: nothing unwinds into
// what the child has of its parent's stack.
[[noreturn]] void serve(int fd, PolicyPulse& pulse, const PoolOptions& options) noexcept {
  const Worker worker = options.make(pulse);
  const auto tell = [fd](const std::string& line) {
    if (!send_all(fd, line + '\n')) _exit(1);
  };
  LineBuffer lines;
  char bytes[256];
  for (;;) {
    while (const auto line = lines.next()) {
      const std::string answer = worker.work(std::stoull(*line), tell);
      tell(std::string(kLast) + answer);
    }
    const ssize_t n = ::read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(0);
    lines.add(bytes, static_cast<size_t>(n));
  }
}

// One process and what the parent knows of it.
struct Running {
  pid_t pid = -1;
  int fd = -1;
  PolicyPulse* pulse = nullptr;  // shared with it
  std::optional<uint64_t> job;
  LineBuffer lines;
  int64_t jobs = 0;  // that it has been given
  bool overdue = false;
  Bytes took;  // more than it may
};

// What a process holds in memory, swapped out or not; 0 where the system does not say. Not what it has only reserved: the
// address space of threads' stacks and drivers is no harm.
Bytes held_by(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  Bytes sum{0};
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("VmRSS:") || line.starts_with("VmSwap:"))
      sum += kib(std::strtoll(line.c_str() + line.find(':') + 1, nullptr, 10));
  return sum;
}

// Where memory is short all the same, the system ends workers before anybody else.
void offer_to_the_system() { std::ofstream("/proc/self/oom_score_adj") << "800"; }

class Pool {
 public:
  Pool(const PoolOptions& options, std::vector<uint64_t> jobs) : options_(options), waiting_(jobs.begin(), jobs.end()) {}
  ~Pool() {
    for (const Running& r : running_) end(r, 0);
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  Status run() {
    const InterruptsPolled polled;
    while (!waiting_.empty() || busy() > 0) {
      if (interrupted()) return interrupted_error("compare");
      TESSERA_TRY(deal());
      TESSERA_TRY(listen());
      end_overdue();
      end_greedy();
    }
    return {};
  }

 private:
  size_t busy() const {
    return static_cast<size_t>(std::count_if(running_.begin(), running_.end(), [](const Running& r) { return r.job; }));
  }

  Status start() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return system_error("cannot make a channel");
    void* page = ::mmap(nullptr, sizeof(PolicyPulse), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return system_error("cannot share memory");
    auto* pulse = new (page) PolicyPulse;
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return system_error("cannot fork");
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) _exit(1);
      for (const int asked_of_all : {SIGINT, SIGTERM}) std::signal(asked_of_all, SIG_IGN);  // the parent decides
      offer_to_the_system();
      ::close(ends[0]);
      for (const Running& other : running_) ::close(other.fd);
      const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
      ::dup2(nowhere, STDOUT_FILENO);  // stdout is the parent's document
      serve(ends[1], *pulse, options_);
    }
    ::close(ends[1]);
    Running& r = running_.emplace_back();
    r.pid = pid;
    r.fd = ends[0];
    r.pulse = pulse;
    return {};
  }

  Status deal() {
    for (Running& r : running_)
      if (!r.job && !waiting_.empty()) give(r);
    while (!waiting_.empty() && running_.size() < static_cast<size_t>(options_.workers)) {
      TESSERA_TRY(start());
      give(running_.back());
    }
    return {};
  }

  // A worker that has gone meanwhile is seen by listen(). A first job stays with it all the same: one that nobody lives to
  // take must not go round for ever.
  void give(Running& r) {
    if (!send_all(r.fd, std::to_string(waiting_.front()) + '\n') && r.jobs > 0) return;
    r.job = waiting_.front();
    ++r.jobs;
    waiting_.pop_front();
  }

  Status listen() {
    std::vector<pollfd> fds;
    for (const Running& r : running_) fds.push_back({r.fd, POLLIN, 0});
    if (::poll(fds.data(), fds.size(), kPollMs) < 0 && errno != EINTR) return system_error("cannot wait");
    for (size_t i = fds.size(); i-- > 0;)
      if (fds[i].revents != 0) TESSERA_TRY(read_from(i));
    return {};
  }

  Status read_from(size_t index) {
    Running& r = running_[index];
    char bytes[1 << 16];
    const ssize_t n = ::read(r.fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) return {};
    if (n <= 0) return lose(index);
    r.lines.add(bytes, static_cast<size_t>(n));
    while (const auto line = r.lines.next()) {
      if (!r.job) continue;
      if (!line->starts_with(kLast)) {
        if (options_.heard) TESSERA_TRY(options_.heard(*r.job, *line));
        continue;
      }
      JobEnd ended;
      ended.job = *r.job;
      ended.answer = line->substr(kLast.size());
      r.job.reset();
      TESSERA_TRY(tell(ended));
    }
    return {};
  }

  Status tell(const JobEnd& ended) {
    std::vector<uint64_t> again;
    TESSERA_TRY(options_.ended(ended, again));
    waiting_.insert(waiting_.begin(), again.begin(), again.end());
    return {};
  }

  // The process is gone, or about to go.
  Status lose(size_t index) {
    const Running r = running_[index];
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
    JobEnd ended;
    const int who = r.pulse->who.load();
    const auto& known = policies().entries();
    if (r.pulse->since_ns.load() != 0 && who >= 0 && static_cast<size_t>(who) < known.size())
      ended.policy = known[static_cast<size_t>(who)].name;
    ended.lost = end(r, kFarewells);
    ended.overdue = r.overdue;
    ended.took = r.took;
    ended.first = r.jobs == 1;
    if (!r.job) return {};  // between jobs: nothing is lost with it
    ended.job = *r.job;
    return tell(ended);
  }

  // Whether the process has ended by itself, within a moment where one is given: its channel closes before it can be waited
  // for.
  static bool gone(const Running& r, int& status, int moments) {
    for (int i = 0; i <= moments; ++i) {
      if (::waitpid(r.pid, &status, WNOHANG) == r.pid) return true;
      if (i < moments) ::poll(nullptr, 0, 5);
    }
    return false;
  }

  // Kills what still runs, and says how it ended.
  static std::string end(const Running& r, int moments) {
    int status = 0;
    if (!gone(r, status, r.overdue || r.took.n > 0 ? 0 : moments)) {
      ::kill(r.pid, SIGKILL);
      ::waitpid(r.pid, &status, 0);
    }
    ::close(r.fd);
    ::munmap(r.pulse, sizeof(PolicyPulse));
    if (WIFSIGNALED(status)) {
      const char* const words = ::sigdescr_np(WTERMSIG(status));
      return "ended by signal " + std::to_string(WTERMSIG(status)) + (words ? " (" + std::string(words) + ")" : "");
    }
    return "ended with code " + std::to_string(WEXITSTATUS(status));
  }

  void end_overdue() {
    if (options_.limit == kForever) return;
    const int64_t now = WallClock::instance().now().ns;
    for (Running& r : running_) {
      const int64_t since = r.pulse->since_ns.load();
      if (!r.job || since == 0 || now - since <= options_.limit.ns || r.took.n > 0 || r.overdue) continue;
      r.overdue = true;
      ::kill(r.pid, SIGKILL);  // listen() hears of it
    }
  }

  void end_greedy() {
    const Duration now = WallClock::instance().now();
    if (options_.memory == kUnlimited || now - looked_ < milliseconds(kPollMs)) return;
    looked_ = now;
    for (Running& r : running_) {
      if (!r.job || r.overdue || r.took.n > 0) continue;
      const Bytes held = held_by(r.pid);
      if (held <= options_.memory) continue;
      r.took = held;
      ::kill(r.pid, SIGKILL);
    }
  }

  const PoolOptions& options_;
  std::deque<uint64_t> waiting_;
  std::vector<Running> running_;
  Duration looked_;  // at their memory
};

}  // namespace

Status run_jobs(const PoolOptions& options, std::vector<uint64_t> jobs) {
  Pool pool(options, std::move(jobs));
  return pool.run();
}

}  // namespace tessera
