// Makes shared memory with memfd: no name in any folder, gone with its last user.
#include "backends/fpga/shared_memory.h"

#include <cerrno>
#include <system_error>

#include <sys/mman.h>
#include <unistd.h>

namespace tessera::fpga {

Result<SharedMemory> SharedMemory::make(int64_t bytes) {
  const auto refuse = [&] {
    return Error{ErrorCode::kDevice, std::to_string(bytes) + " bytes of shared memory: " +
                                         std::error_code(errno, std::generic_category()).message() + "; free some memory"};
  };
  SharedMemory made;
  made.fd_ = ::memfd_create("tessera-fpga", MFD_CLOEXEC);
  if (made.fd_ < 0 || ::ftruncate(made.fd_, bytes) != 0) return refuse();
  void* memory = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, made.fd_, 0);
  if (memory == MAP_FAILED) return refuse();
  made.memory_ = static_cast<std::byte*>(memory);
  made.bytes_ = bytes;
  return made;
}

SharedMemory::~SharedMemory() {
  if (memory_ != nullptr) ::munmap(memory_, static_cast<size_t>(bytes_));
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace tessera::fpga
