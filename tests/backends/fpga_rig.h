// Drives one emulated FPGA without the contract around it: a layer, its operands, and the processes behind it.
#pragma once

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/fpga/device.h"
#include "backends/fpga/installation.h"
#include "tests/backends/cpu_rig.h"

namespace tessera::testing {

// An environment variable while it lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

// A folder or a file that a process was given on its command line.
inline std::string argument_of(int pid, int index) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string argument;
  for (int i = 0; i <= index; ++i) std::getline(file, argument, '\0');
  return argument;
}

inline std::optional<int> child_of(int parent) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (std::atoi(entry.path().filename().c_str()) == 0) continue;  // no process
    std::ifstream file(entry.path() / "stat");
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const size_t name_end = text.rfind(')');
    if (name_end == text.npos) continue;
    std::istringstream rest(text.substr(name_end + 1));
    char state = 0;
    int ppid = 0;
    rest >> state >> ppid;
    if (ppid == parent && state != 'Z') return std::atoi(entry.path().filename().c_str());
  }
  return std::nullopt;
}

// A process that is watched, whoever its parent is.
class Watched {
 public:
  explicit Watched(int pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  ~Watched() {
    if (fd_ >= 0) ::close(fd_);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  bool is_gone(int within_ms = 10'000) const {
    pollfd end = {fd_, POLLIN, 0};
    return fd_ < 0 || ::poll(&end, 1, within_ms) > 0;
  }

 private:
  int fd_;
};

inline bool fpga_is_here() { return fpga::find_installation().ready.ok(); }

// A device and one layer's operands in its buffers.
class FpgaRig {
 public:
  explicit FpgaRig(std::chrono::milliseconds limit = std::chrono::milliseconds(20'000))
      : device(fpga::find_installation().plan("fpga0", 0), mib(1024), limit) {
    for (size_t i = 0; i < weights.refs.size(); ++i)
      weights.refs[i].data = put(weights.blocks[i].ref().as<std::byte>(), weights.blocks[i].bytes());
    input = put(x.data(), bytes());
    output = put(nullptr, bytes());
    const int64_t scratch = fpga::Device::workspace(layer.shape, Op::kLayer, kTokens);
    workspace = put(nullptr, scratch);
    task.id = 7;
    task.layer = 0;
    task.cost.op = Op::kLayer;
    operands.shape = &layer.shape;
    operands.batch.starts = starts;
    operands.input = input, operands.output = output;
    operands.workspace = workspace, operands.workspace_bytes = scratch;
    operands.weights = weights.refs;
    operands.residents = &residents;
  }
  Status run() { return device.compute(task, operands, Duration{}); }
  // Whether the output is the layer of the input.
  ::testing::AssertionResult right() {
    std::vector<float> got(x.size());
    if (const Status s = get(output, got); !s.ok()) return ::testing::AssertionFailure() << s.error().message;
    std::vector<float> want(x.size());
    reference::layer(layer.shape, x, kTokens, weights.parts(), layer.biases, want);
    return close(got, want, 2e-5);
  }
  Status get(MemoryRef from, std::vector<float>& to) {
    Buffer host;
    host.host = reinterpret_cast<std::byte*>(to.data());
    host.bytes = Bytes{static_cast<int64_t>(to.size() * sizeof(float))};
    const Move move{{&host, 0}, from, host.bytes};
    return device.move(fpga::kComputeChannel, task, {&move, 1});
  }
  MemoryRef put(const void* from, int64_t size) {
    auto region = device.allocate(Bytes{size});
    EXPECT_TRUE(region.ok()) << region.error().message;
    if (!region.ok()) return {};
    Buffer& buffer = buffers.emplace_back();
    buffer.native = region->get();
    buffer.bytes = Bytes{size};
    const MemoryRef here{&buffer, 0};
    if (from == nullptr) return here;
    Buffer host;
    host.host = static_cast<std::byte*>(const_cast<void*>(from));
    host.bytes = Bytes{size};
    const Move move{here, {&host, 0}, Bytes{size}};
    const Status moved = device.move(fpga::kControlChannel, task, {&move, 1});
    EXPECT_TRUE(moved.ok()) << moved.error().message;
    return here;
  }
  int64_t bytes() const { return static_cast<int64_t>(x.size() * sizeof(float)); }

  static constexpr int kTokens = 12;
  RandomLayer layer{4, 16, 32, ElementType::kF16};
  Weights weights = weights_of(layer, all_slices(layer), 4, WeightForm::kCoded);
  LayerResidents residents = [this] {
    LayerResidents r = layer.residents();
    r.id = 4711;
    return r;
  }();
  std::vector<float> x = layer.input(kTokens);
  std::vector<int32_t> starts{0, kTokens};
  Task task;
  Operands operands;
  std::deque<Buffer> buffers;  // references stay valid
  fpga::Device device;
  MemoryRef input, output, workspace;
};

}  // namespace tessera::testing
