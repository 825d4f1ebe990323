// Writes temporary files, syncs and renames them.
#include "tools/atomic_file.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tessera {

Error AtomicFile::failure(const char* what) const {
  return {ErrorCode::kData, path_ + ": cannot " + what + ": " + std::generic_category().message(errno)};
}

AtomicFile::~AtomicFile() { drop(); }

void AtomicFile::drop() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  fd_ = -1;
}

Status AtomicFile::open(const std::string& path) {
  path_ = path;
  // A pipe or a device (/dev/stdout) is written to; it must never be replaced by a file.
  struct stat there {};
  const bool special = ::stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode);
  temporary_ = special ? "" : path + ".tmp." + std::to_string(::getpid());
  const std::string& target = special ? path : temporary_;
  fd_ = ::open(target.c_str(), O_WRONLY | O_CLOEXEC | (special ? 0 : O_CREAT | O_TRUNC), 0644);
  if (fd_ < 0) return failure("write");
  return {};
}

Status AtomicFile::append(std::string_view text) {
  buffer_ += text;
  return buffer_.size() < (1 << 16) ? Status() : flush();
}

Status AtomicFile::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure("write");
    done += static_cast<size_t>(n);
  }
  buffer_.clear();
  return {};
}

Status AtomicFile::commit() {
  TESSERA_TRY(flush());
  if (!temporary_.empty() && ::fsync(fd_) != 0) return failure("sync");
  if (!temporary_.empty() && ::rename(temporary_.c_str(), path_.c_str()) != 0) return failure("rename");
  ::close(fd_);
  fd_ = -1;
  return {};
}

Status write_file(const std::string& path, std::string_view content) {
  AtomicFile file;
  TESSERA_TRY(file.open(path));
  TESSERA_TRY(file.append(content));
  return file.commit();
}

Result<std::string> read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.is_open() || in.bad()) return Error{ErrorCode::kData, path + ": cannot be read"};
  return content;
}

Status copy_file(const std::string& from, const std::string& to) {
  TESSERA_ASSIGN(const std::string content, read_text(from));
  return write_file(to, content);
}

}  // namespace tessera
