// Keeps a machine's calibration figures in a file.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

constexpr int64_t kLargestFile = 16 << 20;

Error bad(const std::string& path, const std::string& what) {
  return {ErrorCode::kData, path + ": " + what + "; it is made again"};
}

Error unwritten(const std::string& path, const std::string& why) {
  return {ErrorCode::kData, path + ": cannot be written: " + why + "; this machine is calibrated anew each time"};
}

Status write_new(const std::string& path, const std::string& text) {
  const auto failed = [&] { return unwritten(path, std::generic_category().message(errno)); };
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return failed();
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  const bool whole_text = done == text.size();
  Status status = whole_text ? Status() : failed();
  ::close(fd);
  return status;
}

}  // namespace

Result<Figures> read_figures(const std::string& path, const std::string& fingerprint, bool* found) {
  std::error_code failed;
  *found = std::filesystem::exists(path, failed);
  if (*found && !std::filesystem::is_regular_file(path, failed)) return bad(path, "is not a regular file");
  std::ifstream in(path, std::ios::binary);
  *found = in.good();
  Figures figures;
  if (!in) return figures;
  in.seekg(0, std::ios::end);
  const auto size = static_cast<int64_t>(in.tellg());
  in.seekg(0);
  std::string text(static_cast<size_t>(std::clamp<int64_t>(size, 0, kLargestFile)), '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  std::string why;
  if (!from_text(text, figures, &why)) return bad(path, why);
  if (figures.fingerprint != fingerprint) return bad(path, "was measured on another machine");
  return figures;
}

Status write_figures(const std::string& path, const Figures& figures) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return unwritten(path, error.message());
  const std::string beside = path + "." + std::to_string(::getpid()) + ".tmp";
  std::filesystem::remove(beside, error);
  Status status = write_new(beside, to_text(figures));
  if (status.ok() && ::rename(beside.c_str(), path.c_str()) != 0) {
    status = unwritten(path, std::generic_category().message(errno));
  }
  if (!status.ok()) std::filesystem::remove(beside, error);
  return status;
}

}  // namespace tessera::calibration
