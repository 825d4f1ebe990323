// Opens, reads and writes the files of checkpoints and stores: whole transfers, errors with path and numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "framework/result.h"

namespace tessera {

inline constexpr int64_t kBlock = 4096;  // alignment of extents: offset, length and memory of O_DIRECT reads
constexpr int64_t align_block(int64_t n) { return (n + kBlock - 1) / kBlock * kBlock; }

// Owns a file descriptor.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();
  int get() const { return fd_; }
  // Closes now; false where the system reports a late write error.
  bool close();

 private:
  int fd_ = -1;
};

// Memory for O_DIRECT: 4096-aligned, length rounded up to 4096.
struct FreeDeleter {
  void operator()(std::byte* p) const { std::free(p); }
};
using BlockBuffer = std::unique_ptr<std::byte[], FreeDeleter>;
BlockBuffer allocate_blocks(int64_t bytes);

struct OpenedFile {
  OwnedFd fd;
  int64_t bytes = 0;
  bool direct = false;
};
// Opens a regular file for reading; anything else (FIFO, directory) is kData. Where `direct` is refused by the file system,
// the file is opened without.
Result<OpenedFile> open_regular(const std::string& path, bool direct = false);
// All of [offset, offset + bytes). A short file is kData, named with its numbers.
Status read_fully(int fd, const std::string& path, int64_t offset, std::byte* to, int64_t bytes);
// At most `limit` bytes, else kData.
Result<std::vector<std::byte>> read_file(const std::string& path, int64_t limit);

Status write_fully(int fd, const std::string& path, std::span<const std::byte> bytes);
Status sync_directory(const std::string& path);
// "PATH: what: No space left on device (12.0 MiB free); free some space ..." for the current errno.
Error system_error(const std::string& path, const std::string& what, int error);

}  // namespace tessera
