// Loads Debian's software-emulation shim of XRT and keeps it from writing into freed memory.
//
// XRT opens this file as $XILINX_XRT/lib/libxrt_swemu.so.2. Its own SONAME differs, so that the real shim can be opened by
// that name. The shim grows its one message buffer with realloc(); in Debian's build (202210.2.13.466+dfsg-8) the result is
// dropped, so the first message longer than the first one is written into freed memory. It cannot be overridden by symbol
// preemption (linked SYMBOLIC): the two GOT slots are replaced, buffers are made large enough at once and never move.
// Where the defect is gone, this changes nothing that matters.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr const char* kShim = "libxrt_swemu.so.2";
constexpr size_t kDefaultPacket = 0x800000;  // XRT's, where SW_EMU_PACKET_SIZE is not set
constexpr size_t kMessageExtra = 64 << 10;   // fields and framing around one packet
constexpr int kSlots = 2;                    // malloc and realloc

size_t capacity() {
  static const size_t bytes = [] {
    const char* packet = std::getenv("SW_EMU_PACKET_SIZE");
    const size_t given = packet == nullptr ? 0 : std::strtoull(packet, nullptr, 0);
    return (given == 0 ? kDefaultPacket : given) + kMessageExtra;
  }();
  return bytes;
}

[[noreturn]] void refuse(const char* why, long number) {
  std::fprintf(stderr, "tessera: %s: %s (%ld); this build of XRT is not one that the emulator knows\n", kShim, why, number);
  std::fflush(stderr);
  _exit(71);
}

void* malloc_enough(size_t bytes) { return std::malloc(std::max(bytes, capacity())); }

// Every block that comes here was made by malloc_enough.
void* realloc_in_place(void* block, size_t bytes) {
  if (block == nullptr) return malloc_enough(bytes);
  if (bytes > capacity()) refuse("a message is longer than one packet", static_cast<long>(bytes));
  return block;
}

// The dynamic section's tables of one library.
struct Tables {
  const Elf64_Rela* rela = nullptr;
  size_t rela_bytes = 0;
  const Elf64_Rela* jump = nullptr;
  size_t jump_bytes = 0;
  const Elf64_Sym* symbols = nullptr;
  const char* names = nullptr;
};

// NOLINTBEGIN(performance-no-int-to-ptr): ELF keeps addresses as integers
Tables tables_of(const dl_phdr_info& library, const Elf64_Phdr& header) {
  Tables t;
  for (auto* d = reinterpret_cast<const Elf64_Dyn*>(library.dlpi_addr + header.p_vaddr); d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_RELA) t.rela = reinterpret_cast<const Elf64_Rela*>(d->d_un.d_ptr);
    if (d->d_tag == DT_RELASZ) t.rela_bytes = d->d_un.d_val;
    if (d->d_tag == DT_JMPREL) t.jump = reinterpret_cast<const Elf64_Rela*>(d->d_un.d_ptr);
    if (d->d_tag == DT_PLTRELSZ) t.jump_bytes = d->d_un.d_val;
    if (d->d_tag == DT_SYMTAB) t.symbols = reinterpret_cast<const Elf64_Sym*>(d->d_un.d_ptr);
    if (d->d_tag == DT_STRTAB) t.names = reinterpret_cast<const char*>(d->d_un.d_ptr);
  }
  return t;
}

// The library is BIND_NOW: its GOT is read-only by now.
void overwrite(void** slot, void* with) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(slot) & ~(page - 1);
  if (mprotect(reinterpret_cast<void*>(first), page, PROT_READ | PROT_WRITE) != 0) refuse("its GOT stays read-only", 0);
  *slot = with;
}

int patch(const Elf64_Rela* entries, size_t bytes, const Tables& t, ElfW(Addr) base) {
  int patched = 0;
  for (size_t i = 0; i < bytes / sizeof(Elf64_Rela); ++i) {
    const char* name = t.names + t.symbols[ELF64_R_SYM(entries[i].r_info)].st_name;
    void* with = nullptr;
    if (std::strcmp(name, "malloc") == 0) with = reinterpret_cast<void*>(&malloc_enough);
    if (std::strcmp(name, "realloc") == 0) with = reinterpret_cast<void*>(&realloc_in_place);
    if (with == nullptr) continue;
    overwrite(reinterpret_cast<void**>(base + entries[i].r_offset), with);
    ++patched;
  }
  return patched;
}
// NOLINTEND(performance-no-int-to-ptr)

// Counts the slots replaced in the real shim. This file's own name matches too: patching itself would recurse for ever.
int patch_shim(dl_phdr_info* library, size_t, void* count) {
  if (library->dlpi_name == nullptr || std::strstr(library->dlpi_name, kShim) == nullptr) return 0;
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&patch_shim), &self) != 0 &&
      reinterpret_cast<ElfW(Addr)>(self.dli_fbase) == library->dlpi_addr) {
    return 0;
  }
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    if (library->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const Tables t = tables_of(*library, library->dlpi_phdr[i]);
    if (t.symbols == nullptr || t.names == nullptr) continue;
    *static_cast<int*>(count) +=
        patch(t.jump, t.jump_bytes, t, library->dlpi_addr) + patch(t.rela, t.rela_bytes, t, library->dlpi_addr);
  }
  return 0;
}

__attribute__((constructor)) void open_shim() {
  // By SONAME, RTLD_GLOBAL: its static initialisers register it exactly as when XRT opens it itself.
  if (dlopen(kShim, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    std::fprintf(stderr, "tessera: %s\n", dlerror());
    refuse("cannot be opened; install libxrt1", 0);
  }
  int patched = 0;
  dl_iterate_phdr(&patch_shim, &patched);
  if (patched != kSlots) refuse("malloc and realloc slots found, want 2", patched);
}

}  // namespace
