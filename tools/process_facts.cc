// Reads the process's clocks and /proc/self/status.
#include "tools/process_facts.h"

#include <cstdio>
#include <cstring>
#include <ctime>

#include <elf.h>
#include <link.h>

namespace tessera {
namespace {

Duration g_before_main;
Duration g_main;

Duration read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return {t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

// dl_iterate_phdr's callback; the program itself comes first.
int take_build_id(dl_phdr_info* object, size_t, void* id) {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader tells addresses as integers
    const auto* at = reinterpret_cast<const unsigned char*>(object->dlpi_addr + segment.p_vaddr);
    const auto* const end = at + segment.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const auto* const name = at + sizeof note;
      const auto* const bytes = name + (note.n_namesz + 3) / 4 * 4;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        char digits[3];
        for (size_t b = 0; b < note.n_descsz; ++b) {
          std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(bytes[b]));
          static_cast<std::string*>(id)->append(digits);
        }
        return 1;
      }
      at = bytes + (note.n_descsz + 3) / 4 * 4;
    }
  }
  return 1;
}

}  // namespace

std::string program_version() {
  std::string id;
  dl_iterate_phdr(take_build_id, &id);
  return TESSERA_VERSION " build " + id;
}

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
