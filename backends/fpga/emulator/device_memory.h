// Holds the emulated device's memory: one mapping a buffer, found by device address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace tessera::fpga {

// Device addresses are chosen by XRT; 0 is one. Used by the answering thread and by the compute units' threads.
class DeviceMemory {
 public:
  ~DeviceMemory();
  // `file` is set to the path that XRT may map instead of sending data, where the buffer is large enough for that to pay.
  bool allocate(uint64_t address, uint64_t bytes, std::string* file);
  void free(uint64_t address);
  // False where the range is not all inside one buffer. A buffer that XRT has mapped has the data already.
  bool write(uint64_t address, std::string_view data);
  // `data` stays empty for a buffer that XRT has mapped.
  bool read(uint64_t address, uint64_t bytes, std::string* data);
  // Where the kernel finds this address; null where it is in no buffer.
  std::byte* translate(uint64_t address);

 private:
  struct Mapping {
    std::byte* memory = nullptr;
    uint64_t bytes = 0;
    int fd = -1;
    bool mapped_by_host = false;
  };
  const std::pair<const uint64_t, Mapping>* find(uint64_t address, uint64_t bytes) const;

  std::mutex mutex_;
  std::map<uint64_t, Mapping> mappings_;  // by first address
};

}  // namespace tessera::fpga
