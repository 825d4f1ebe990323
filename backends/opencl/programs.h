// Builds kernels for a device, or takes them from the cache of binaries.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backends/opencl/tuning.h"

namespace tessera::opencl {

// $XDG_CACHE_HOME/tessera/opencl, else ~/.cache/tessera/opencl; nullopt where there is neither.
std::optional<std::filesystem::path> cache_folder();

struct RowKernels {
  cl_kernel locate = nullptr, attend = nullptr, gather = nullptr, combine = nullptr, embed = nullptr, head = nullptr;
  cl_program program = nullptr;
};
struct TileKernels {
  cl_kernel project = nullptr, reduce = nullptr;
  cl_program program = nullptr;
};

// Of one device. Not thread-safe: the device's lock is held, and kernels take their arguments under it.
class Programs {
 public:
  Programs(const Api& api, const DeviceFacts& device, std::string name)
      : api_(api), device_(device), name_(std::move(name)) {}
  ~Programs();
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;
  // Built on first use; kDevice with the compiler's log where that fails.
  Result<RowKernels> rows(cl_context context);
  Result<TileKernels> tiles(cl_context context, const Tile& tile);
  // Writes the binaries of these programs to the cache, where they are not yet: some drivers finish a program only when its
  // binary is asked for, which takes longer than building it (PoCL: 4 s), so this waits for a calibration.
  void keep(const Tuning& tuning);
  // Work-items that share a row in norms and heads.
  int row_lanes() const { return device_.is_cpu() ? 16 : 64; }

 private:
  Result<cl_program> program(cl_context context, const std::string& source, const std::string& options);
  cl_program from_binary(cl_context context, const std::string& binary, const std::string& options);
  Result<cl_program> from_source(cl_context context, const std::string& source, const std::string& options);
  Result<cl_kernel> kernel(cl_program program, const char* name);
  std::string binary_of(cl_program program) const;
  std::string log_of(cl_program program) const;

  const Api& api_;
  const DeviceFacts& device_;
  std::string name_;  // "opencl0", for messages
  std::vector<cl_program> programs_;
  std::map<cl_program, std::filesystem::path> unkept_;  // built from source
  std::vector<cl_kernel> kernels_;
  std::optional<RowKernels> rows_;
  std::map<Tile, TileKernels> tiles_;
};

}  // namespace tessera::opencl
