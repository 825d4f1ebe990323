// Finds the parts of the FPGA path: the worker program, the emulator's folder, the xclbin.
#pragma once

#include <string>
#include <vector>

#include "backends/fpga/worker_process.h"
#include "framework/result.h"

namespace tessera::fpga {

// What there is, or why there is nothing.
struct Installation {
  bool emulated = true;
  int devices = 0;
  std::string xclbin;
  std::string uuid;
  int units = 0;  // compute units of the kernel that multiplies
  std::string worker;
  std::string emulator_folder;
  Status ready;  // kUnavailable or kData tells what is missing, and what to do
  WorkerPlan plan(const std::string& device, unsigned index) const;
};

// Reads files only: no process is started, no vendor library opened. Environment (see README.md): TESSERA_FPGA,
// TESSERA_XCLBIN, TESSERA_FPGA_EMULATED, TESSERA_FPGA_CARDS.
Installation find_installation();

}  // namespace tessera::fpga
