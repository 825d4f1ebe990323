// Wraps the system's file calls: retries what was interrupted, turns errno into messages.
#include "shards/store_io.h"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "framework/units.h"

namespace tessera {

OwnedFd::~OwnedFd() { close(); }

bool OwnedFd::close() {
  const int fd = std::exchange(fd_, -1);
  return fd < 0 || ::close(fd) == 0;
}

BlockBuffer allocate_blocks(int64_t bytes) {
  const auto rounded = static_cast<size_t>(align_block(bytes > 0 ? bytes : 1));
  return BlockBuffer(static_cast<std::byte*>(std::aligned_alloc(kBlock, rounded)));
}

Error system_error(const std::string& path, const std::string& what, int error) {
  std::string message = path + ": " + what + ": " + std::generic_category().message(error);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    struct statvfs fs = {};
    const std::string parent = std::filesystem::path(path).parent_path().string();
    if (::statvfs(parent.empty() ? "." : parent.c_str(), &fs) == 0) {
      message +=
          " (" + to_string(Bytes{static_cast<int64_t>(fs.f_bavail) * static_cast<int64_t>(fs.f_frsize)}) + " free there)";
    }
    message += "; make room, or store fewer bitwidths";
  }
  return {ErrorCode::kData, message};
}

Result<OpenedFile> open_regular(const std::string& path, bool direct) {
  struct stat info = {};
  // Looked at before opening: opening a FIFO would wait for a writer.
  if (::stat(path.c_str(), &info) != 0) return system_error(path, "cannot open", errno);
  if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kData, path + ": not a regular file"};
  OpenedFile file;
  if (direct) {
    file.fd = OwnedFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
    file.direct = file.fd.get() >= 0;
  }
  if (file.fd.get() < 0) file.fd = OwnedFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd.get() < 0) return system_error(path, "cannot open", errno);
  if (::fstat(file.fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return system_error(path, "cannot open", errno);
  file.bytes = info.st_size;
  return file;
}

Status read_fully(int fd, const std::string& path, int64_t offset, std::byte* to, int64_t bytes) {
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd, to + done, static_cast<size_t>(bytes - done), offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path, "cannot read at byte " + std::to_string(offset + done), errno);
    if (n == 0) {
      return Error{ErrorCode::kData, path + ": ends at byte " + std::to_string(offset + done) + ", bytes " +
                                         std::to_string(offset) + " to " + std::to_string(offset + bytes) + " are needed"};
    }
    done += n;
  }
  return {};
}

Result<std::vector<std::byte>> read_file(const std::string& path, int64_t limit) {
  TESSERA_ASSIGN(OpenedFile file, open_regular(path));
  if (file.bytes > limit) {
    return Error{ErrorCode::kData, path + ": " + std::to_string(file.bytes) + " bytes, more than the " +
                                       std::to_string(limit) + " that such a file may have"};
  }
  std::vector<std::byte> bytes(static_cast<size_t>(file.bytes));
  TESSERA_TRY(read_fully(file.fd.get(), path, 0, bytes.data(), file.bytes));
  return bytes;
}

Status write_fully(int fd, const std::string& path, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return system_error(path, "cannot write " + to_string(Bytes{static_cast<int64_t>(bytes.size() - done)}), errno);
    done += static_cast<size_t>(n);
  }
  return {};
}

Status sync_directory(const std::string& path) {
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return system_error(path, "cannot open", errno);
  if (::fsync(fd.get()) != 0 && errno != EINVAL) return system_error(path, "cannot sync", errno);
  return {};
}

}  // namespace tessera
