// Opens plug-ins, and tries them in a forked child.
#include "scheduler/plugin_probe.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <exception>
#include <system_error>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "framework/plugin.h"

namespace tessera {
namespace {

constexpr const char* kRebuild = "; build it again, against this tessera";

Error refused(std::string why) { return {ErrorCode::kInvalid, std::move(why)}; }

// What the dynamic linker says, without the path that it starts with.
std::string linker_error(const std::string& path) {
  const char* const said = ::dlerror();
  std::string text = said != nullptr ? said : "cannot be opened";
  if (text.starts_with(path + ": ")) text.erase(0, path.size() + 2);
  return text;
}

Status compare(const PluginDoor& door) {
  if (door.magic != kPluginMagic) return refused(std::string("its ") + kPluginEntry + "() is not tessera's");
  if (door.api != kPluginApi)
    return refused("is of plug-in API " + std::to_string(door.api) + ", this is API " + std::to_string(kPluginApi) +
                   kRebuild);
  const std::string version = std::string(" (it was built against tessera ") + door.version + ")";
  if (std::string_view(door.toolchain) != TESSERA_TOOLCHAIN)
    return refused("was compiled with " + std::string(door.toolchain) + ", this with " TESSERA_TOOLCHAIN + kRebuild);
  if (door.layout != plugin_layout()) return refused("lays out the contracts differently" + version + kRebuild);
  return {};
}

Status let_register(const PluginDoor& door, PluginContents& contents) {
  try {
    door.add(contents.policies, contents.backends);
  } catch (const std::exception& error) {
    return refused(std::string("threw while registering: ") + error.what());
  } catch (...) { return refused("threw while registering"); }
  if (contents.policies.entries().empty() && contents.backends.entries().empty()) return refused("registers nothing");
  return {};
}

// ---- in the child

// Lists and commands take names apart at blanks, commas and equal signs.
Status check_name(const std::string& name) {
  const auto plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  for (const char c : name)
    if (!plain(static_cast<unsigned char>(c))) return refused("registers '" + name + "'; names have a-z, 0-9, - and _ only");
  return name.empty() ? Status(refused("registers a name that is empty")) : Status();
}

Status make_all(const PluginContents& contents) {
  for (const auto& entry : contents.policies.entries()) {
    TESSERA_TRY(check_name(entry.name));
    const auto policy = entry.make();
    if (!policy) return refused("makes no policy of '" + entry.name + "'");
    if (policy->name() != entry.name)
      return refused("registers policy '" + entry.name + "' that calls itself '" + std::string(policy->name()) + "'");
    (void)policy->summary();
    (void)policy->knobs();
  }
  for (const auto& entry : contents.backends.entries()) {
    TESSERA_TRY(check_name(entry.name));
    const auto backend = entry.make(BackendOptions{});
    if (!backend) return refused("makes no backend of '" + entry.name + "'");
    if (!entry.on_demand) (void)backend->describe();
  }
  return {};
}

Status try_all(const std::string& path) {
  try {
    TESSERA_ASSIGN(const PluginContents contents, open_plugin(path));
    return make_all(contents);
  } catch (const std::exception& error) { return refused(std::string("threw: ") + error.what()); } catch (...) {
    return refused("threw");
  }
}

// Tells the verdict, ended by a zero byte: an empty one is good.
[[noreturn]] void run_child(const std::string& path, int to_parent) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) std::signal(signal, SIG_DFL);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, stream);
  const Status status = try_all(path);
  const std::string verdict = status.ok() ? "" : status.error().message;
  (void)!::write(to_parent, verdict.c_str(), verdict.size() + 1);
  ::_exit(0);
}

// ---- in the parent

// Reads up to a zero byte, the end, or `limit`. `timed_out` is set in the last case.
std::string read_verdict(int from_child, Duration limit, bool& complete, bool& timed_out) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::nanoseconds(limit.ns);
  std::string text;
  while (!complete) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd ready{from_child, POLLIN, 0};
    const int polled = left > 0 ? ::poll(&ready, 1, static_cast<int>(left)) : 0;
    if (polled < 0 && errno == EINTR) continue;
    timed_out = polled == 0;
    if (polled <= 0) break;
    char piece[512];
    const ssize_t got = ::read(from_child, piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece, static_cast<size_t>(got));
    complete = text.back() == '\0';
  }
  if (complete) text.pop_back();
  return text;
}

Status judge(int ended, const std::string& verdict, bool complete, bool timed_out, Duration limit) {
  if (complete) return verdict.empty() ? Status() : Status(refused(verdict));
  if (timed_out) return refused("was not loaded within " + to_string(limit));
  if (WIFSIGNALED(ended)) {
    const char* const name = ::sigdescr_np(WTERMSIG(ended));
    return refused(std::string("crashed while it was loaded: ") + (name != nullptr ? name : "killed") + " (signal " +
                   std::to_string(WTERMSIG(ended)) + ")");
  }
  return refused("ended the process while it was loaded (exit code " + std::to_string(WEXITSTATUS(ended)) + ")");
}

}  // namespace

Result<PluginContents> open_plugin(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const std::string unresolved = library == nullptr ? linker_error(path) : "";
  // One of another version may call what is not there: opened lazily, it can still tell its version.
  if (library == nullptr) library = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return refused(unresolved);
  const auto entry = reinterpret_cast<PluginEntry>(::dlsym(library, kPluginEntry));
  const PluginDoor* const door = entry != nullptr ? entry() : nullptr;
  if (door == nullptr) return refused(std::string("has no ") + kPluginEntry + "(): it is no plug-in of tessera");
  TESSERA_TRY(compare(*door));
  if (!unresolved.empty()) return refused(unresolved);
  PluginContents contents;
  contents.policies.set_source(path);
  contents.backends.set_source(path);
  TESSERA_TRY(let_register(*door, contents));
  return contents;
}

Status probe_plugin(const std::string& path, Duration limit) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return refused("cannot be tried: " + std::generic_category().message(errno));
  const pid_t child = ::fork();
  if (child == 0) run_child(path, pipe[1]);
  ::close(pipe[1]);
  if (child < 0) {
    ::close(pipe[0]);
    return refused("cannot be tried: " + std::generic_category().message(errno));
  }
  bool complete = false, timed_out = false;
  const std::string verdict = read_verdict(pipe[0], limit, complete, timed_out);
  ::close(pipe[0]);
  if (complete || timed_out) ::kill(child, SIGKILL);
  int ended = 0;
  while (::waitpid(child, &ended, 0) < 0 && errno == EINTR) {}
  return judge(ended, verdict, complete, timed_out, limit);
}

}  // namespace tessera
