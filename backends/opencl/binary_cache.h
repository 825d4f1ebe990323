// Keeps program binaries between runs. A cache that cannot be read or written is no error.
#pragma once

#include <filesystem>
#include <string>

namespace tessera::opencl {

// The binary kept in `file`; empty where there is none or where it is damaged (its checksum is looked at).
std::string read_binary(const std::filesystem::path& file);
// Under a temporary name first, then renamed: readers see a whole file or none.
void write_binary(const std::filesystem::path& file, const std::string& binary);

}  // namespace tessera::opencl
