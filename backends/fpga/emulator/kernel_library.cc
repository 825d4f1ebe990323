// Opens kernels with dlopen; local symbols, so that a library loaded later has a table of its own.
#include "backends/fpga/emulator/kernel_library.h"

#include <algorithm>
#include <filesystem>

#include <dlfcn.h>

namespace tessera::fpga {

KernelLibrary open_kernels(const std::string& path, std::string* why) {
  void* handle = ::dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  void* table = handle == nullptr ? nullptr : ::dlsym(handle, hls::kKernelTableSymbol);
  if (table == nullptr) {
    *why = "no kernels in " + path + ": " + ::dlerror();  // NOLINT(concurrency-mt-unsafe): one thread opens libraries
    return {};
  }
  KernelLibrary library;
  for (const hls::KernelEntry* e = reinterpret_cast<decltype(&hls::tessera_hls_kernels)>(table)(); e != nullptr; e = e->next)
    library.kernels.push_back(e);
  std::sort(library.kernels.begin(), library.kernels.end(),
            [](const auto* a, const auto* b) { return std::string_view(a->name) < b->name; });
  if (library.kernels.empty()) *why = "the table of kernels in " + path + " is empty";
  return library;
}

const hls::KernelEntry* KernelLibrary::find(const std::string& name) const {
  const auto at = std::find_if(kernels.begin(), kernels.end(), [&](const auto* k) { return name == k->name; });
  return at == kernels.end() ? nullptr : *at;
}

}  // namespace tessera::fpga
