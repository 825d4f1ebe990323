// Reads and checks an xclbin file: the container (axlf) and the description of its kernels. Trusts nothing in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "framework/result.h"

namespace tessera::fpga {

// The layout of /usr/include/xrt/xclbin.h, so that a file can be judged where XRT is not installed.
inline constexpr char kXclbinMagic[8] = {'x', 'c', 'l', 'b', 'i', 'n', '2', '\0'};
enum class SectionKind : uint32_t {
  kBitstream = 0,
  kMetadata = 2,
  kMemoryTopology = 6,
  kConnectivity = 7,
  kIpLayout = 8,
  kBuildMetadata = 14,
};
struct XclbinHeader {
  char magic[8];
  int32_t signature_length;
  unsigned char reserved[28];
  unsigned char key_block[256];
  uint64_t unique_id;
  uint64_t length;  // of the whole file
  uint64_t time_stamp;
  uint64_t feature_rom_time_stamp;
  uint16_t version_patch;
  uint8_t version_major;
  uint8_t version_minor;
  uint16_t mode;
  uint16_t action_mask;
  unsigned char interface_uuid[16];
  unsigned char platform[64];
  unsigned char uuid[16];
  char debug_bin[16];
  uint32_t sections;
  uint32_t padding;
};
static_assert(sizeof(XclbinHeader) == 456, "axlf without its section headers");
struct XclbinSection {
  uint32_t kind;
  char name[16];
  uint32_t padding;
  uint64_t offset;
  uint64_t bytes;
};
static_assert(sizeof(XclbinSection) == 40);
inline constexpr uint16_t kModeSoftwareEmulation = 5;

// What the section of metadata (XML) says of a kernel.
struct KernelDescription {
  std::string name;
  std::vector<std::string> arguments;  // names, in order
  struct Instance {
    std::string name;
    uint64_t base = 0;  // of its control registers
  };
  std::vector<Instance> instances;  // compute units
};

struct XclbinDescription {
  std::string project;  // "tessera-1": written by our packer, with the version of the kernels' interface
  std::string uuid;     // hexadecimal
  uint16_t mode = 0;
  std::vector<KernelDescription> kernels;
  const KernelDescription* find(std::string_view kernel) const;
};

// The kernels in a description; those without a name are left out. Any text is fine.
std::vector<KernelDescription> parse_kernels(std::string_view xml);
// kData names the file and what is wrong in it: not an xclbin, cut off, sections missing or outside the file.
Result<XclbinDescription> read_xclbin(const std::string& path);

}  // namespace tessera::fpga
