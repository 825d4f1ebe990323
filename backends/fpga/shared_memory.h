// Owns memory that another process maps too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "framework/result.h"

namespace tessera::fpga {

// An anonymous file and this process's mapping of it. Zeroed when made; pages come with the first touch.
class SharedMemory {
 public:
  SharedMemory() = default;
  static Result<SharedMemory> make(int64_t bytes);
  SharedMemory(SharedMemory&& other) noexcept { *this = std::move(other); }
  SharedMemory& operator=(SharedMemory&& other) noexcept {
    std::swap(fd_, other.fd_), std::swap(memory_, other.memory_), std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SharedMemory();

  int fd() const { return fd_; }
  std::byte* data() const { return memory_; }
  int64_t bytes() const { return bytes_; }

 private:
  int fd_ = -1;
  std::byte* memory_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace tessera::fpga
