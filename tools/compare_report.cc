// Starts the report's program and waits for it.
#include "tools/compare_report.h"

#include <filesystem>
#include <vector>

#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tessera {
namespace fs = std::filesystem;
namespace {

// <executable>/../share/tessera/report/report.py
fs::path report_program() {
  std::error_code failed;
  return fs::read_symlink("/proc/self/exe", failed).parent_path().parent_path() / "share/tessera/report/report.py";
}

}  // namespace

void make_report(const std::string& out) {
  const std::string program = report_program().string();
  std::error_code failed;
  if (!fs::exists(program, failed)) return spdlog::warn("no report: {} is not installed", program);
  std::vector<std::string> words{"python3", program, out};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);  // stdout is the document's
  pid_t child = 0;
  const int error = posix_spawnp(&child, "python3", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (error != 0) return spdlog::warn("no report: python3 cannot be started; apt-get install python3 python3-matplotlib");
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    spdlog::warn("no report: {} failed; it needs matplotlib (apt-get install python3-matplotlib). Then: python3 {} {}",
                 program, program, out);
}

}  // namespace tessera
