// Holds one open FPGA through XRT's native API: its kernels with their reusable runs, and the regions' buffers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#include "backends/fpga/channel.h"

namespace tessera::fpga {

// One xrt::run, used again and again. XRT's callback is what makes its end known: wait() alone cannot keep a deadline in
// software emulation, and the callback costs the same on a card.
struct RunSlot {
  xrt::run run;
  bool ended = true;  // guarded by Session's mutex
};

// Runs of a kernel: XRT spreads them over its compute units.
struct KernelRuns {
  xrt::kernel kernel;
  std::vector<std::unique_ptr<RunSlot>> free;
};

// Shared memory of the backend with a device buffer of the same size.
struct Region {
  xrt::bo buffer;
  std::byte* on_device = nullptr;  // XRT's host side of the buffer
  std::byte* shared = nullptr;
  int64_t bytes = 0;
  ~Region();
};

// Status words of one channel's runs, one a step.
struct StatusWords {
  xrt::bo buffer;
  std::byte* words = nullptr;
};

// XRT's exceptions pass through; callers turn them into replies. Channels use it at the same time.
class Session {
 public:
  // Opens device `index` and loads the xclbin.
  Session(unsigned index, const std::string& xclbin);
  std::string device_name() const;
  // Takes the memory of `fd`, which it closes.
  void create(uint32_t region, int64_t bytes, int fd);
  void destroy(uint32_t region);
  std::shared_ptr<Region> find(uint32_t region);
  StatusWords make_status_words();

  // A run of the kernel that nobody uses; give it back when it has ended.
  RunSlot* take(const std::string& kernel);
  void give_back(const std::string& kernel, RunSlot* slot);
  void start(RunSlot& slot);
  // False: the deadline passed first.
  bool wait(const RunSlot& slot, Moment deadline);

 private:
  KernelRuns& runs_of(const std::string& kernel);

  xrt::device device_;
  xrt::uuid uuid_;
  std::mutex mutex_;
  std::condition_variable run_ended_;
  std::map<std::string, KernelRuns> kernels_;
  std::map<uint32_t, std::shared_ptr<Region>> regions_;
};

}  // namespace tessera::fpga
