// Prepares what XRT reads before its first call: environment variables and two small files.
#pragma once

#include <string>

namespace tessera::fpga {

// What the backend passes on the command line (worker_process.cc).
struct WorkerArguments {
  bool emulated = true;
  std::string xclbin;
  std::string run_folder;       // private to this worker: sockets, kernels, logs; both sides remove it
  std::string emulator_folder;  // lib/ with the wrapped shim, data/ with the device model
  unsigned index = 0;           // of the card
  std::string life;             // which worker of its backend this is, from 1
};

// False where the command line is not the backend's.
bool read_arguments(int argc, char** argv, WorkerArguments* arguments);
// Empty, or what failed. Only before the first XRT call, which reads and keeps it all.
std::string prepare_environment(const WorkerArguments& arguments);

}  // namespace tessera::fpga
