// Runs the command that the first argument names.
#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "framework/registry.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/interrupt.h"
#include "tools/loaded_plugins.h"
#include "tools/process_facts.h"

namespace tessera {

namespace {

constexpr Command kCommands[] = {
    {"run", "answers texts under a latency and a memory budget", run_command},
    {"plan", "like run, without running: the plan and its timeline", plan_command},
    {"eval", "accuracy and latency distribution over a data set", eval_command},
    {"compare", "lets policies compete under equal budgets, on many machines", compare_command},
    {"shard", "imports a Hugging Face folder into a sharded store", shard_command, false},
    {"verify", "reads and checks every byte of a store", verify_command, false},
    {"profile", "measures how depth, width and bits change accuracy, into the store", profile_command},
    {"calibrate", "measures the devices of this machine", calibrate_command},
    {"devices", "what is here, what is not and why", devices_command},
    {"policies", "who may decide", policies_command},
    {"backends", "what may execute", backends_command},
};

void print_usage(std::FILE* to) {
  std::fputs("tessera " TESSERA_VERSION
             ": answers with a model whose shards are chosen under budgets\n\n"
             "Usage: tessera COMMAND [FLAGS...]\n\n",
             to);
  for (const Command& command : kCommands)
    std::fprintf(to, "  %-10s %s\n", std::string(command.name).c_str(), std::string(command.summary).c_str());
  std::fputs(
      "\nExample: tessera run \"a gripping, beautifully acted film\" --latency 20ms --memory 8MiB\n"
      "tessera COMMAND --help tells its flags. TESSERA_PLUGIN_PATH=FOLDER:FILE... brings policies and backends built "
      "elsewhere.\n",
      to);
}

int dispatch(int argc, const char* const* argv) {
  if (argc < 2) {
    print_usage(stderr);
    return kExitWrongUse;
  }
  const std::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return kExitDone;
  }
  if (name == "--version") {
    std::puts("tessera " TESSERA_VERSION);
    return kExitDone;
  }
  std::vector<std::string> known;
  for (const Command& command : kCommands) {
    if (command.name == name) {
      if (command.names_plugins) load_named_plugins();
      return command.execute(argc - 1, argv + 1);
    }
    known.emplace_back(command.name);
  }
  std::fprintf(stderr, "tessera: %s\n", unknown_name("command", name, known).c_str());
  return kExitWrongUse;
}

// A full disk behind stdout is an error like any other; a reader that went away is not.
int flush_stdout(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  if (errno == EPIPE) return code;
  std::fprintf(stderr, "tessera: cannot write to stdout: %s\n", std::generic_category().message(errno).c_str());
  return code == kExitDone ? kExitData : code;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::mark_main();
  try {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("tessera", std::make_shared<spdlog::sinks::stderr_color_sink_st>()));
    spdlog::set_pattern("%^%l%$: %v");
    tessera::watch_interrupts();
    tessera::register_policies();
    tessera::register_backends();
    return tessera::flush_stdout(tessera::dispatch(argc, argv));
  } catch (const std::bad_alloc&) { std::fputs("tessera: out of memory\n", stderr); } catch (const std::exception& error) {
    std::fprintf(stderr, "tessera: internal error: %s\n", error.what());
  }
  return tessera::kExitInternal;
}
