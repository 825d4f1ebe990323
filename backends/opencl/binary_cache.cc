// Stores a binary behind its checksum: a driver that is handed a damaged one may crash.
#include "backends/opencl/binary_cache.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>

#include <unistd.h>

#include "shards/hash.h"

namespace tessera::opencl {
namespace {

uint64_t checksum_of(std::string_view binary) { return checksum64(std::as_bytes(std::span(binary))); }

}  // namespace

std::string read_binary(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  uint64_t sum = 0;
  if (bytes.size() <= sizeof sum) return "";
  std::memcpy(&sum, bytes.data(), sizeof sum);
  bytes.erase(0, sizeof sum);
  return checksum_of(bytes) == sum ? bytes : "";
}

void write_binary(const std::filesystem::path& file, const std::string& binary) {
  static std::atomic<int> serial{0};
  std::error_code failed;
  std::filesystem::create_directories(file.parent_path(), failed);
  const std::filesystem::path draft =
      file.string() + "." + std::to_string(getpid()) + "." + std::to_string(serial.fetch_add(1)) + ".tmp";
  const uint64_t sum = checksum_of(binary);
  {
    std::ofstream out(draft, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&sum), sizeof sum);
    out.write(binary.data(), static_cast<std::streamsize>(binary.size()));
    out.close();
    if (out.good()) std::filesystem::rename(draft, file, failed);
    if (out.good() && !failed) return;
  }
  std::filesystem::remove(draft, failed);
}

}  // namespace tessera::opencl
