// Spawns processes with their output in files.
#include "tests/cli/tool.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

const std::string kBinary = std::string(TESSERA_BINARY_DIR) + "/bin/tessera";

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (std::string& s : strings) list.push_back(s.data());
  list.push_back(nullptr);
  return list;
}

pid_t start(const std::vector<std::string>& arguments, const std::vector<std::string>& environment, const std::string& out,
            const std::string& err) {
  std::vector<std::string> argv{kBinary};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<std::string> env{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "TERM=dumb",
                               "XDG_CACHE_HOME=" + std::string(TESSERA_BINARY_DIR) + "/test-cache"};
  for (const std::string& e : environment) {
    std::erase_if(env, [&](const std::string& old) { return old.starts_with(e.substr(0, e.find('=') + 1)); });
    env.push_back(e);
  }
  // Sanitizer and emulator settings of the test's own run reach the tool.
  for (const char* name : {"LD_LIBRARY_PATH", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"})
    if (const char* value = std::getenv(name)) env.push_back(std::string(name) + "=" + value);
  const pid_t child = fork();
  if (child != 0) return child;
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
  dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
  execve(kBinary.c_str(), pointers(argv).data(), pointers(env).data());
  _exit(127);
}

ToolRun finish(pid_t child, const std::string& out, const std::string& err) {
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) throw std::runtime_error("cannot run " + kBinary);
  ToolRun run;
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.out = slurp(out);
  run.err = slurp(err);
  return run;
}

const TinyStore& shared_store() {
  static const TinyStore store = make_tiny_store();
  return store;
}

}  // namespace

ToolRun tessera(const std::vector<std::string>& arguments, const std::vector<std::string>& environment) {
  mkdir((std::string(TESSERA_BINARY_DIR) + "/test-cache").c_str(), 0700);
  const TemporaryFolder folder;
  return finish(start(arguments, environment, folder / "out", folder / "err"), folder / "out", folder / "err");
}

bool holds(const std::string& folder, const std::string& prefix) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(prefix)) return true;
  return false;
}

ToolRun tessera_signalled(const std::vector<std::string>& arguments, int signal, const std::function<bool()>& ready) {
  const TemporaryFolder output;
  const pid_t child = start(arguments, {}, output / "out", output / "err");
  const auto ended = [child] {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
  };
  while (!ready() && !ended()) std::this_thread::yield();
  kill(child, signal);  // at worst a zombie until finish() waits: never another process
  return finish(child, output / "out", output / "err");
}

const std::string& tiny_store() { return shared_store().directory; }
const std::string& tiny_checkpoint() { return shared_store().checkpoint; }

}  // namespace tessera::testing
