// Names what the backend and an xclbin must agree on: the version of the kernels' interface, and each kernel's arguments.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "backends/fpga/xclbin_file.h"

namespace tessera::fpga {

// Raised when the meaning of an argument changes while its name stays.
inline constexpr int kInterfaceVersion = 1;
inline constexpr std::string_view kProjectPrefix = "tessera-";
inline std::string project_name() { return std::string(kProjectPrefix) + std::to_string(kInterfaceVersion); }

// Whether the kernels are those of hls/kernels.h as this program was built with it. kData names what differs.
Status check_interface(const XclbinDescription& xclbin, const std::string& path);

// Arguments of a kernel in the order of its top (hls/kernels.h).
struct KernelSignature {
  std::string_view name;
  std::span<const std::string_view> arguments;
};
extern const KernelSignature kMatmul, kAttention, kGelu, kNorm;

}  // namespace tessera::fpga
