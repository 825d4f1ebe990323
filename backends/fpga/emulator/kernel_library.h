// Opens a shared object of compiled kernels and reads the table that it exports (hls/common/kernel_table.h).
#pragma once

#include <string>
#include <vector>

#include "hls/common/kernel_table.h"

namespace tessera::fpga {

// Entries live as long as the library stays open: for the life of the process.
struct KernelLibrary {
  std::vector<const hls::KernelEntry*> kernels;  // by name
  const hls::KernelEntry* find(const std::string& name) const;
};

// Without kernels on failure, and `why` tells.
KernelLibrary open_kernels(const std::string& path, std::string* why);

}  // namespace tessera::fpga
