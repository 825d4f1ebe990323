// Runs a program of copies and kernel runs on the device.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "backends/fpga/worker/session.h"

namespace tessera::fpga {

// One channel's way to run programs. XRT's exceptions are caught.
class ProgramRunner {
 public:
  explicit ProgramRunner(Session& session) : session_(session) {}
  // Runs all steps, within `limit`. Past it kLate, and runs are still going: the process must end.
  Reply run(std::span<const Step> steps, std::chrono::milliseconds limit);

 private:
  void copy(const Step& step);
  void start(const Step& step, size_t index);
  void bind(const Step& step, xrt::run& run, size_t index);
  bool finish_before(size_t end, Moment deadline);
  void clear_status(size_t steps);
  // kFailed names the first run whose word says that it is not done.
  Reply read_status();
  void start_all(Moment deadline, size_t* at);
  const Region& region_of(uint32_t id, int64_t offset, int64_t bytes);

  Session& session_;
  StatusWords status_;  // made at the first run
  std::span<const Step> steps_;
  std::vector<RunSlot*> running_;                        // by step; null where it has ended or is a copy
  size_t finished_ = 0;                                  // all steps before it have ended
  std::map<uint32_t, std::shared_ptr<Region>> regions_;  // of this program: they stay while it runs
};

}  // namespace tessera::fpga
