// Looks beside this library and beside the executable: build tree and installation have one layout, bin/ lib/ libexec/
// share/.
#include "backends/fpga/installation.h"

#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>
#include <unistd.h>

#include "backends/fpga/interface.h"

namespace tessera::fpga {
namespace {

namespace fs = std::filesystem;

constexpr char kWorker[] = "libexec/tessera/tessera-fpga-worker";
constexpr char kEmulator[] = "libexec/tessera/emulator";
constexpr char kShim[] = "lib/libxrt_swemu.so.2";
constexpr char kModel[] = "data/emulation/unified/cpu_em/generic_pcie/model/genericpciemodel";
constexpr char kEmulatedXclbin[] = "share/tessera/fpga/tessera.sw_emu.xclbin";
constexpr int kMostDevices = 8;

#ifdef TESSERA_FPGA_RUNTIME
constexpr bool kBuiltWithXrt = true;
#else
constexpr bool kBuiltWithXrt = false;
#endif

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here writes the environment
  return value == nullptr ? "" : value;
}

// The folders above this library's and above the executable's.
std::vector<fs::path> prefixes() {
  std::vector<fs::path> found;
  std::error_code failed;
  Dl_info here;
  if (::dladdr(reinterpret_cast<void*>(&find_installation), &here) != 0 && here.dli_fname != nullptr) {
    const fs::path library = fs::canonical(here.dli_fname, failed);
    if (!failed) found.push_back(library.parent_path().parent_path());
  }
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  if (!failed) found.push_back(program.parent_path().parent_path());
  return found;
}

bool executable(const fs::path& path) { return ::access(path.c_str(), X_OK) == 0; }

Error unavailable(const std::string& why) { return {ErrorCode::kUnavailable, why}; }

// A count between 1 and 8; 0 where the text is none.
int count_of(const std::string& text, int otherwise) {
  if (text.empty()) return otherwise;
  char* end = nullptr;
  const long given = std::strtol(text.c_str(), &end, 10);
  return *end == '\0' && given >= 1 && given <= kMostDevices ? static_cast<int>(given) : 0;
}

Status check_emulator(const Installation& found) {
  const fs::path folder = found.emulator_folder;
  for (const char* part : {kShim, kModel}) {
    if (::access((folder / part).c_str(), R_OK) != 0)
      return unavailable("the emulator is not here: " + (folder / part).string() +
                         " is missing; build tessera_fpga_runtime");
  }
  if (!executable(folder / kModel)) return unavailable((folder / kModel).string() + " cannot be executed; build it again");
  return {};
}

Status look(Installation& found) {
  if (variable("TESSERA_FPGA") == "off") return unavailable("switched off by TESSERA_FPGA=off");
  if (!kBuiltWithXrt) return unavailable("built without XRT; install libxrt-dev and uuid-dev, and build again");
  fs::path prefix;
  for (const fs::path& p : prefixes())
    if (prefix.empty() && executable(p / kWorker)) prefix = p;
  if (prefix.empty())
    return unavailable(std::string("its worker, ") + kWorker + ", is not here; build tessera_fpga_runtime");
  found.worker = prefix / kWorker;
  found.emulator_folder = prefix / kEmulator;
  const std::string named = variable("TESSERA_XCLBIN");
  found.xclbin = named.empty() ? (prefix / kEmulatedXclbin).string() : named;
  TESSERA_ASSIGN(const XclbinDescription xclbin, read_xclbin(found.xclbin));
  TESSERA_TRY(check_interface(xclbin, found.xclbin));
  found.uuid = xclbin.uuid;
  found.units = static_cast<int>(xclbin.find(kMatmul.name)->instances.size());
  found.emulated = xclbin.mode == kModeSoftwareEmulation;
  const char* count = found.emulated ? "TESSERA_FPGA_EMULATED" : "TESSERA_FPGA_CARDS";
  found.devices = count_of(variable(count), 1);
  if (found.devices == 0) {
    found.devices = 1;
    return unavailable(std::string(count) + "='" + variable(count) + "' is no count of devices; give 1 to 8");
  }
  return found.emulated ? check_emulator(found) : Status();
}

}  // namespace

WorkerPlan Installation::plan(const std::string& device, unsigned index) const {
  return {device, worker, xclbin, emulator_folder, emulated, index};
}

Installation find_installation() {
  Installation found;
  found.ready = look(found);
  if (found.devices == 0) found.devices = 1;  // one to say why
  return found;
}

}  // namespace tessera::fpga
