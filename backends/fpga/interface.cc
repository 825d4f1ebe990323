// Compares an xclbin with the kernels that this program calls.
#include "backends/fpga/interface.h"

namespace tessera::fpga {
namespace {

constexpr std::string_view kMatmulArguments[] = {
    "x",         "weights", "positions", "values", "bias",     "y",        "x_at", "weights_at", "bias_at", "y_at",
    "status_at", "tokens",  "in",        "out",    "x_stride", "y_stride", "bits", "element",    "mode",    "status"};
constexpr std::string_view kAttentionArguments[] = {"q",    "k",          "v",         "context", "q_at",  "k_at",
                                                    "v_at", "context_at", "status_at", "tokens",  "width", "status"};
constexpr std::string_view kGeluArguments[] = {"x", "y", "x_at", "y_at", "status_at", "lines", "status"};
constexpr std::string_view kNormArguments[] = {"part0",   "part1",     "part2",    "part3",    "residual",  "norms",
                                               "y",       "part0_at",  "part1_at", "part2_at", "part3_at",  "residual_at",
                                               "bias_at", "weight_at", "shift_at", "y_at",     "status_at", "parts",
                                               "finish",  "tokens",    "width",    "eps",      "status"};

std::string joined(auto&& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

}  // namespace

const KernelSignature kMatmul{"matmul", kMatmulArguments};
const KernelSignature kAttention{"attention", kAttentionArguments};
const KernelSignature kGelu{"gelu", kGeluArguments};
const KernelSignature kNorm{"layernorm_residual", kNormArguments};

Status check_interface(const XclbinDescription& xclbin, const std::string& path) {
  const auto differs = [&](const std::string& what) {
    return Error{ErrorCode::kData, "xclbin " + path + ": " + what + "; build the kernels of this version (hls/README.md)"};
  };
  if (xclbin.project.starts_with(kProjectPrefix) && xclbin.project != project_name()) {
    return differs("is of version " + xclbin.project.substr(kProjectPrefix.size()) +
                   " of the kernels' interface, this program of " + std::to_string(kInterfaceVersion));
  }
  for (const KernelSignature* wanted : {&kMatmul, &kAttention, &kGelu, &kNorm}) {
    const KernelDescription* found = xclbin.find(wanted->name);
    if (found == nullptr) return differs("has no kernel '" + std::string(wanted->name) + "'");
    if (found->instances.empty()) return differs("has no compute unit of kernel '" + found->name + "'");
    const bool same =
        std::equal(found->arguments.begin(), found->arguments.end(), wanted->arguments.begin(), wanted->arguments.end());
    if (!same) {
      return differs("kernel '" + found->name + "' takes (" + joined(found->arguments) + "), this program passes (" +
                     joined(wanted->arguments) + ")");
    }
  }
  return {};
}

}  // namespace tessera::fpga
