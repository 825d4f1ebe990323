// Backs each buffer by an anonymous file that XRT's side may map: nothing is left behind after a crash.
#include "backends/fpga/emulator/device_memory.h"

#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

namespace tessera::fpga {
namespace {

// XRT keeps a descriptor open for each buffer that it maps, until the device closes: small ones are not worth it.
constexpr uint64_t kSmallestMapped = 64 << 10;

}  // namespace

DeviceMemory::~DeviceMemory() {
  while (!mappings_.empty()) free(mappings_.begin()->first);
}

bool DeviceMemory::allocate(uint64_t address, uint64_t bytes, std::string* file) {
  free(address);
  Mapping m;
  m.bytes = bytes == 0 ? 1 : bytes;
  m.fd = ::memfd_create("tessera-device-memory", MFD_CLOEXEC);
  if (m.fd < 0 || ::ftruncate(m.fd, static_cast<off_t>(m.bytes)) != 0) {
    if (m.fd >= 0) ::close(m.fd);
    return false;
  }
  void* memory = ::mmap(nullptr, m.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
  if (memory == MAP_FAILED) {
    ::close(m.fd);
    return false;
  }
  m.memory = static_cast<std::byte*>(memory);
  m.mapped_by_host = bytes >= kSmallestMapped;
  if (m.mapped_by_host) *file = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(m.fd);
  const std::lock_guard lock(mutex_);
  mappings_[address] = m;
  return true;
}

void DeviceMemory::free(uint64_t address) {
  const std::lock_guard lock(mutex_);
  const auto at = mappings_.find(address);
  if (at == mappings_.end()) return;
  ::munmap(at->second.memory, at->second.bytes);
  ::close(at->second.fd);
  mappings_.erase(at);
}

const std::pair<const uint64_t, DeviceMemory::Mapping>* DeviceMemory::find(uint64_t address, uint64_t bytes) const {
  auto at = mappings_.upper_bound(address);
  if (at == mappings_.begin()) return nullptr;
  --at;
  const uint64_t offset = address - at->first;
  if (offset >= at->second.bytes || bytes > at->second.bytes - offset) return nullptr;
  return &*at;
}

bool DeviceMemory::write(uint64_t address, std::string_view data) {
  const std::lock_guard lock(mutex_);
  const auto* at = find(address, data.size());
  if (at == nullptr) return false;
  if (!at->second.mapped_by_host) std::memcpy(at->second.memory + (address - at->first), data.data(), data.size());
  return true;
}

bool DeviceMemory::read(uint64_t address, uint64_t bytes, std::string* data) {
  const std::lock_guard lock(mutex_);
  const auto* at = find(address, bytes);
  if (at == nullptr) return false;
  if (!at->second.mapped_by_host)
    data->assign(reinterpret_cast<const char*>(at->second.memory + (address - at->first)), bytes);
  return true;
}

std::byte* DeviceMemory::translate(uint64_t address) {
  const std::lock_guard lock(mutex_);
  const auto* at = find(address, 1);
  return at == nullptr ? nullptr : at->second.memory + (address - at->first);
}

}  // namespace tessera::fpga
