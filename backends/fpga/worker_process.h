// Starts one worker process, holds the backend's ends of its channels, and ends it without leaving anything behind.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include <sys/types.h>

#include "backends/fpga/channel.h"
#include "backends/fpga/shared_memory.h"
#include "framework/result.h"

namespace tessera::fpga {

// What a worker is started with.
struct WorkerPlan {
  std::string device;  // "fpga0", for messages
  std::string worker;  // the program
  std::string xclbin;
  std::string emulator_folder;
  bool emulated = true;
  unsigned index = 0;  // of the card
};

class WorkerProcess {
 public:
  // Starts the worker and waits until its device is open. On failure nothing is left. `life` counts the workers of a device
  // from 1. The calling thread must live as long as the process: the kernel tells the worker when it has ended.
  static Result<std::unique_ptr<WorkerProcess>> start(const WorkerPlan& plan, uint64_t life, Moment deadline);
  ~WorkerProcess();

  uint64_t life() const { return life_; }
  const std::string& device_name() const { return device_name_; }  // as XRT calls it
  int handle() const { return handle_; }                           // a pidfd
  pid_t pid() const { return pid_; }
  // One request at a time on a channel; others wait for it.
  Passage run(Channel channel, std::span<const Step> steps, std::chrono::milliseconds limit, Moment deadline, Reply* reply);
  Passage call(Channel channel, Request request, int fd, Moment deadline, Reply* reply);
  bool has_ended() const;
  // Kills the worker and what it has started. Any thread; end() must still be called.
  void kill() const;
  // Reaps it, removes what it left, and says how it ended.
  std::string end();

 private:
  WorkerProcess() = default;
  Status prepare(const WorkerPlan& plan);
  Status spawn(const WorkerPlan& plan);
  Status greet(const WorkerPlan& plan, Moment deadline);
  Passage call_locked(Channel channel, Request request, int fd, Moment deadline, Reply* reply);
  std::string last_words() const;

  struct Line {
    std::mutex one_at_a_time;
    int socket = -1;         // ours
    int worker_socket = -1;  // its, until it has started
    SharedMemory mailbox;
    uint64_t sequence = 0;
  };
  std::array<Line, kChannels> lines_;
  uint64_t life_ = 0;
  std::string run_folder_;
  std::string device_name_;
  mutable std::mutex ending_;  // of pid_, between kill() and end()
  std::atomic<pid_t> pid_ = -1;
  int handle_ = -1;
};

}  // namespace tessera::fpga
