// Reads the process's clocks and /proc/self/status.
#include "tools/process_facts.h"

#include <cstdio>
#include <cstring>
#include <ctime>

namespace tessera {
namespace {

Duration g_before_main;
Duration g_main;

Duration read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return {t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

}  // namespace

void mark_main() {
  g_main = read_clock(CLOCK_MONOTONIC);
  g_before_main = read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

Duration before_main() { return g_before_main; }

Duration since_process_start() { return g_before_main + read_clock(CLOCK_MONOTONIC) - g_main; }

Bytes peak_resident() {
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return {0};
  char line[256];
  long long kib_read = 0;
  while (std::fgets(line, sizeof(line), status) != nullptr)
    if (std::sscanf(line, "VmHWM: %lld kB", &kib_read) == 1) break;
  std::fclose(status);
  return kib(kib_read);
}

}  // namespace tessera
