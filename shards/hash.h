// Checksums of the store: XXH3, 64 bits an extent, 128 bits for a store's identity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tessera {

uint64_t checksum64(std::span<const std::byte> bytes);
// 32 hex digits, most significant first.
std::string content_digest(std::span<const std::byte> bytes);

// XXH3-64 of bytes that arrive in pieces.
class RunningChecksum {
 public:
  RunningChecksum();
  ~RunningChecksum();
  RunningChecksum(const RunningChecksum&) = delete;
  RunningChecksum& operator=(const RunningChecksum&) = delete;
  void add(std::span<const std::byte> bytes);
  uint64_t value() const;

 private:
  void* state_;
};

}  // namespace tessera
