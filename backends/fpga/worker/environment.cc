// Sets what XRT's software emulation needs, so that no script has to (measured: an empty environment is enough besides).
#include "backends/fpga/worker/environment.h"

#include <cstdlib>
#include <fstream>

namespace tessera::fpga {
namespace {

// kds_sw_emu=false: the scheduler inside libxrt_coreutil, 3 times faster than the shim's. polling_throttle: microseconds
// between polls for an end. No comments behind values: they would become part of them.
constexpr char kIni[] = "[Runtime]\nkds_sw_emu=false\npolling_throttle=50\n";
// Keys as XRT reads them (OclFreqency really has that spelling).
constexpr char kDevices[] =
    R"({"Version": {"FileVersion": "2.0"}, "Platform": {"UnifiedPlatform": "true", "ExpandedPR": "false", "Boards": [
  {"NumBoards": "1", "Devices": [{"Name": "tessera_emulated", "DataAlignment": "4096", "OclFreqency": "300",
   "NumDevices": "1", "DdrBanks": [{"Name": "bank0", "Size": "16G"}]}]}]}}
)";

bool write_file(const std::string& path, const char* text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  return static_cast<bool>(file.flush());
}

void set(const char* name, const std::string& value) {
  ::setenv(name, value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): before the first thread
}

}  // namespace

bool read_arguments(int argc, char** argv, WorkerArguments* arguments) {
  if (argc != 7) return false;
  const std::string mode = argv[1];
  *arguments = {mode == "emulated", argv[2], argv[3], argv[4], static_cast<unsigned>(std::atoi(argv[5])), argv[6]};
  return mode == "emulated" || mode == "card";
}

std::string prepare_environment(const WorkerArguments& arguments) {
  if (!arguments.emulated) {
    ::unsetenv("XCL_EMULATION_MODE");  // NOLINT(concurrency-mt-unsafe): before the first thread
    return "";
  }
  const std::string& folder = arguments.run_folder;
  if (!write_file(folder + "/xrt.ini", kIni) || !write_file(folder + "/emconfig.json", kDevices))
    return "cannot write into " + folder;
  set("XCL_EMULATION_MODE", "sw_emu");
  set("XILINX_XRT", arguments.emulator_folder);
  set("XILINX_VITIS", arguments.emulator_folder);
  set("XRT_INI_PATH", folder + "/xrt.ini");
  set("EMCONFIG_PATH", folder);
  set("SDACCEL_EM_RUN_DIR", folder);
  set("SW_EMU_PACKET_SIZE", "0x20000");  // the best of those measured; 8 MB, the default, is 3 to 5 times slower
  // Sockets lie at /tmp/$USER: the last part of the run folder, which is in /tmp and this process's own.
  set("USER", folder.substr(folder.rfind('/') + 1));
  set("TESSERA_FPGA_LIFE", arguments.life);
  for (const char* other : {"XILINX_OPENCL", "XILINX_SDX", "XILINX_SCOUT", "XILINX_HLS", "XILINX_VIVADO",
                            "ENABLE_KERNEL_DEBUG", "LD_PRELOAD", "INTERNAL_BUILD"}) {
    ::unsetenv(other);  // NOLINT(concurrency-mt-unsafe): before the first thread
  }
  return "";
}

}  // namespace tessera::fpga
