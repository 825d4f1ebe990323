// Builds programs from the kernels' text; the driver's own binaries are kept in the cache.
#include "backends/opencl/programs.h"

#include <array>
#include <cstdlib>

#include "backends/opencl/binary_cache.h"
#include "shards/hash.h"

namespace tessera::opencl {

// The texts of kernels/*.cl (generated).
extern const char* const k_prelude_cl;
extern const char* const k_multiply_cl;
extern const char* const k_rows_cl;

namespace {

std::string option(const char* name, int value) { return std::string(" -D") + name + "=" + std::to_string(value); }

}  // namespace

std::optional<std::filesystem::path> cache_folder() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::filesystem::path(cache) / "tessera" / "opencl";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::filesystem::path(home) / ".cache" / "tessera" / "opencl";
  return std::nullopt;
}

Programs::~Programs() {
  for (const cl_kernel k : kernels_) api_.clReleaseKernel(k);
  for (const cl_program p : programs_) api_.clReleaseProgram(p);
}

Result<RowKernels> Programs::rows(cl_context context) {
  if (rows_) return *rows_;
  TESSERA_ASSIGN(const cl_program built, program(context, std::string(k_prelude_cl) + k_rows_cl,
                                                 "-cl-std=CL1.2" + option("NORM", row_lanes()) + option("GRID_F64", 0)));
  RowKernels k;
  TESSERA_ASSIGN(k.locate, kernel(built, "locate"));
  TESSERA_ASSIGN(k.attend, kernel(built, "attend"));
  TESSERA_ASSIGN(k.gather, kernel(built, "gather"));
  TESSERA_ASSIGN(k.combine, kernel(built, "combine"));
  TESSERA_ASSIGN(k.embed, kernel(built, "embed"));
  TESSERA_ASSIGN(k.head, kernel(built, "head"));
  k.program = built;
  rows_ = k;
  return k;
}

Result<TileKernels> Programs::tiles(cl_context context, const Tile& tile) {
  if (const auto known = tiles_.find(tile); known != tiles_.end()) return known->second;
  const std::string source =
      std::string(k_prelude_cl) + "\n#define REDUCE 0\n" + k_multiply_cl + "\n#define REDUCE 1\n" + k_multiply_cl;
  // CPUs turn vectors of floats into doubles and back in a few instructions; GPUs have few double units, but an
  // instruction from float to 64-bit integers.
  const std::string options = "-cl-std=CL1.2" + option("GM", tile.lanes) + option("GN", tile.panels) +
                              option("RM", tile.rows) + option("KT", tile.depth) + option("STAGE_X", tile.stage) +
                              option("GRID_F64", device_.is_cpu() && device_.doubles ? 1 : 0);
  TESSERA_ASSIGN(const cl_program built, program(context, source, options));
  TileKernels k;
  TESSERA_ASSIGN(k.project, kernel(built, "project"));
  TESSERA_ASSIGN(k.reduce, kernel(built, "reduce"));
  k.program = built;
  tiles_[tile] = k;
  return k;
}

Result<cl_program> Programs::program(cl_context context, const std::string& source, const std::string& options) {
  std::string key;
  for (const std::string* part :
       {&device_.platform_name, &device_.name, &device_.driver, &device_.version, &source, &options})
    key += *part + '\0';
  const auto folder = cache_folder();
  const std::filesystem::path file =
      folder ? *folder / (content_digest(std::as_bytes(std::span(key))) + ".bin") : std::filesystem::path();
  if (folder) {
    const std::string binary = read_binary(file);
    if (const cl_program known = binary.empty() ? nullptr : from_binary(context, binary, options)) return known;
  }
  TESSERA_ASSIGN(const cl_program built, from_source(context, source, options));
  if (folder) unkept_[built] = file;
  return built;
}

void Programs::keep(const Tuning& tuning) {
  std::vector<cl_program> used;
  if (rows_) used.push_back(rows_->program);
  for (const Tile& tile : {tuning.few, tuning.many})
    if (const auto at = tiles_.find(tile); at != tiles_.end()) used.push_back(at->second.program);
  for (const cl_program p : used) {
    const auto at = unkept_.find(p);
    if (at == unkept_.end()) continue;
    if (const std::string binary = binary_of(p); !binary.empty()) write_binary(at->second, binary);
    unkept_.erase(at);
  }
}

cl_program Programs::from_binary(cl_context context, const std::string& binary, const std::string& options) {
  const size_t size = binary.size();
  const auto* bytes = reinterpret_cast<const unsigned char*>(binary.data());
  cl_int taken = CL_SUCCESS, code = CL_SUCCESS;
  const cl_program p = api_.clCreateProgramWithBinary(context, 1, &device_.id, &size, &bytes, &taken, &code);
  if (p == nullptr) return nullptr;
  if (code == CL_SUCCESS && taken == CL_SUCCESS &&
      api_.clBuildProgram(p, 1, &device_.id, options.c_str(), nullptr, nullptr) == CL_SUCCESS) {
    programs_.push_back(p);
    return p;
  }
  api_.clReleaseProgram(p);
  return nullptr;
}

Result<cl_program> Programs::from_source(cl_context context, const std::string& source, const std::string& options) {
  const char* text = source.c_str();
  cl_int code = CL_SUCCESS;
  const cl_program p = api_.clCreateProgramWithSource(context, 1, &text, nullptr, &code);
  if (p == nullptr) return Error{ErrorCode::kDevice, "device " + name_ + ": no program: " + error_name(code)};
  code = api_.clBuildProgram(p, 1, &device_.id, options.c_str(), nullptr, nullptr);
  if (code == CL_SUCCESS) {
    programs_.push_back(p);
    return p;
  }
  const std::string log = log_of(p);
  api_.clReleaseProgram(p);
  return Error{ErrorCode::kDevice, "device " + name_ + ": its driver (" + device_.driver +
                                       ") does not build the kernels: " + error_name(code) + ": " + log};
}

Result<cl_kernel> Programs::kernel(cl_program program, const char* name) {
  cl_int code = CL_SUCCESS;
  const cl_kernel k = api_.clCreateKernel(program, name, &code);
  if (k == nullptr) return Error{ErrorCode::kDevice, "device " + name_ + ": kernel " + name + ": " + error_name(code)};
  kernels_.push_back(k);
  return k;
}

std::string Programs::binary_of(cl_program program) const {
  size_t size = 0;
  if (api_.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, nullptr) != CL_SUCCESS) return "";
  std::string binary(size, '\0');
  auto* at = reinterpret_cast<unsigned char*>(binary.data());
  const cl_int code =
      size == 0 ? CL_INVALID_VALUE : api_.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof at, &at, nullptr);
  return code == CL_SUCCESS ? binary : "";
}

// At most 4,000 characters of the compiler's log, in one line.
std::string Programs::log_of(cl_program program) const {
  std::string log(65'536, '\0');
  size_t size = 0;
  if (api_.clGetProgramBuildInfo(program, device_.id, CL_PROGRAM_BUILD_LOG, log.size(), log.data(), &size) != CL_SUCCESS)
    return "no log";
  log.resize(std::min<size_t>(size > 0 ? size - 1 : 0, 4'000));
  for (char& c : log)
    if (c == '\n') c = ' ';
  return log;
}

}  // namespace tessera::opencl
