// Reads the process's clocks and /proc/self/status.
#include "tools/process_facts.h"

#include <cstdio>
#include <cstring>
#include <ctime>

#include <elf.h>
#include <link.h>

#include "tools/loaded_plugins.h"

namespace tessera {
namespace {

Duration g_before_main;
Duration g_main;

Duration read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return {t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

// Appends the build id in a segment of notes, in hex.
void append_build_id(const unsigned char* at, const unsigned char* end, std::string& id) {
  while (at + sizeof(ElfW(Nhdr)) <= end) {
    ElfW(Nhdr) note;
    std::memcpy(&note, at, sizeof note);
    const auto* const name = at + sizeof note;
    const auto* const bytes = name + (note.n_namesz + 3) / 4 * 4;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
      char digits[3];
      for (size_t b = 0; b < note.n_descsz; ++b) {
        std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(bytes[b]));
        id.append(digits);
      }
      return;
    }
    at = bytes + (note.n_descsz + 3) / 4 * 4;
  }
}

// Of the program itself (which comes first), of libtessera, and of plug-ins that brought backends.
bool measured(const char* object) {
  const std::string_view path = object;
  if (path.find("/libtessera.so") != std::string_view::npos) return true;
  for (const Plugin& plugin : loaded_plugins())
    if (!plugin.backends.empty() && path == plugin.path) return true;
  return false;
}

struct BuildIds {
  std::string text;
  bool first = true;
};

// dl_iterate_phdr's callback.
int take_build_id(dl_phdr_info* object, size_t, void* data) {
  auto& ids = *static_cast<BuildIds*>(data);
  const bool wanted = ids.first || measured(object->dlpi_name);
  ids.first = false;
  for (int i = 0; wanted && i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader tells addresses as integers
    const auto* at = reinterpret_cast<const unsigned char*>(object->dlpi_addr + segment.p_vaddr);
    append_build_id(at, at + segment.p_memsz, ids.text);
  }
  return 0;
}

}  // namespace

std::string program_version() {
  BuildIds ids;
  dl_iterate_phdr(take_build_id, &ids);
  return TESSERA_VERSION " build " + ids.text;
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
