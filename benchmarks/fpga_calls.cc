// Times the FPGA path through XRT: opening the device, a call, a copy, two compute units side by side, a lost worker
// replaced. Checks results first.
//   bench_fpga_calls [ROUNDS]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <vector>

#include "backends/fpga/device.h"
#include "backends/fpga/installation.h"
#include "framework/reference_ops.h"
#include "hls/kernels.h"
#include "shards/flat_codec.h"

namespace tessera {
namespace {

using std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "bench_fpga_calls: %s\n", why.c_str());
  std::exit(1);
}

void must(const Status& status) {
  if (!status.ok()) fail(status.error().message);
}

double us_since(steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(steady_clock::now() - begin).count();
}

// Least, median and 95th percentile of some runs, microseconds.
void print(const char* what, std::vector<double> us, const char* note = "") {
  std::sort(us.begin(), us.end());
  std::printf("%-44s %10.1f %10.1f %10.1f us  %s\n", what, us.front(), us[us.size() / 2], us[us.size() * 95 / 100], note);
}

std::vector<double> time_of(int rounds, const std::function<void()>& run) {
  std::vector<double> us;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = steady_clock::now();
    run();
    us.push_back(us_since(begin));
  }
  return us;
}

std::vector<float> random_floats(size_t count, uint32_t seed, float sigma) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// Host memory as an end of a transfer.
Buffer host_view(void* memory, int64_t bytes) {
  Buffer view;
  view.host = static_cast<std::byte*>(memory);
  view.bytes = Bytes{bytes};
  return view;
}

class Bench {
 public:
  explicit Bench(const fpga::WorkerPlan& plan) : device_(plan, mib(1024), std::chrono::milliseconds(20'000)) {}

  MemoryRef allocate(int64_t bytes) {
    auto region = device_.allocate(Bytes{bytes});
    if (!region.ok()) fail(region.error().message);
    Buffer& buffer = buffers_.emplace_back();
    buffer.native = region->get();
    buffer.bytes = Bytes{bytes};
    return {&buffer, 0};
  }
  void copy(MemoryRef to, MemoryRef from, int64_t bytes) {
    const Move move{to, from, Bytes{bytes}};
    must(device_.move(fpga::kLinkChannel, Task{}, {&move, 1}));
  }
  MemoryRef put(std::vector<std::byte>& bytes) {
    const auto size = static_cast<int64_t>(bytes.size());
    Buffer host = host_view(bytes.data(), size);
    const MemoryRef here = allocate(size);
    copy(here, {&host, 0}, size);
    return here;
  }
  fpga::Device& device() { return device_; }

 private:
  std::deque<Buffer> buffers_;
  fpga::Device device_;
};

void open_and_restart(const fpga::WorkerPlan& plan, int rounds) {
  std::vector<double> open, restart;
  for (int i = 0; i < rounds; ++i) {
    fpga::Keeper keeper(plan);
    const auto soon = [] { return steady_clock::now() + std::chrono::seconds(20); };
    auto begin = steady_clock::now();
    auto first = keeper.worker(soon());
    if (!first.ok()) fail(first.error().message);
    open.push_back(us_since(begin));
    begin = steady_clock::now();
    ::kill((*first)->pid(), SIGKILL);
    while (!(*first)->has_ended()) {}
    auto second = keeper.worker(soon());
    if (!second.ok()) fail(second.error().message);
    if ((*second)->life() != 2) fail("the worker was not replaced");
    restart.push_back(us_since(begin));
  }
  print("open device and load xclbin, process included", open);
  print("lost worker replaced, from the kill", restart);
}

void copies(Bench& bench, int rounds) {
  for (const int64_t bytes : {int64_t{1} << 10, int64_t{64} << 10, int64_t{1} << 20, int64_t{16} << 20}) {
    std::vector<float> sent = random_floats(static_cast<size_t>(bytes / 4), 5, 1.0f), back(sent.size());
    Buffer from = host_view(sent.data(), bytes), to = host_view(back.data(), bytes);
    const MemoryRef there = bench.allocate(bytes);
    const auto in = time_of(rounds, [&] { bench.copy(there, {&from, 0}, bytes); });
    const auto out = time_of(rounds, [&] { bench.copy({&to, 0}, there, bytes); });
    if (std::memcmp(sent.data(), back.data(), static_cast<size_t>(bytes)) != 0) fail("bytes came back changed");
    char what[64], note[64];
    const auto report = [&](const char* way, const std::vector<double>& us) {
      std::vector<double> sorted = us;
      std::sort(sorted.begin(), sorted.end());
      std::snprintf(what, sizeof what, "copy %s of %s", way, to_string(Bytes{bytes}).c_str());
      std::snprintf(note, sizeof note, "%.2f GB/s", static_cast<double>(bytes) / sorted[sorted.size() / 2] / 1e3);
      print(what, us, note);
    };
    report("to device", in);
    report("from device", out);
  }
}

// Runs of one kernel through the worker, without the layers above.
class Calls {
 public:
  explicit Calls(const fpga::WorkerPlan& plan) : keeper_(plan) {
    auto worker = keeper_.worker(steady_clock::now() + std::chrono::seconds(20));
    if (!worker.ok()) fail(worker.error().message);
    worker_ = worker.take();
    auto memory = fpga::SharedMemory::make(kBytes);
    if (!memory.ok()) fail(memory.error().message);
    memory_ = memory.take();
    fpga::Request create;
    create.call = fpga::Call::kCreate;
    create.region = 1;
    create.bytes = kBytes;
    fpga::Reply reply;
    if (worker_->call(fpga::kControlChannel, create, memory_.fd(), soon(), &reply) != fpga::Passage::kOk) fail("no region");
    region_ = std::make_shared<fpga::BackendRegion>();
    region_->id = 1;
  }
  float* values() const { return reinterpret_cast<float*>(memory_.data()); }
  void run(const fpga::Program& program) {
    fpga::Reply reply;
    const auto passage = worker_->run(fpga::kComputeChannel, program.steps(), std::chrono::seconds(20), soon(), &reply);
    if (passage != fpga::Passage::kOk || reply.outcome != fpga::Outcome::kDone)
      fail(std::string("a run failed: ") + reply.text);
  }
  void ping() {
    fpga::Request ping;
    fpga::Reply reply;
    if (worker_->call(fpga::kComputeChannel, ping, -1, soon(), &reply) != fpga::Passage::kOk) fail("no answer");
  }
  fpga::Span span(int64_t at, int64_t bytes) const { return {region_, at, bytes}; }
  // gelu over `lines` of the region's first part into the second.
  void gelu(fpga::Program& program, uint32_t lines) const {
    using fpga::ArgumentKind;
    program.run(fpga::kGelu, 0,
                {span(0, 64), span(0, 64), 0u, kSecond / 64, ArgumentKind::kStatusAt, lines, ArgumentKind::kStatus});
  }
  // A dense product of [tokens, 256] with [256, 256] at the region's start, sums to `slot`.
  void product(fpga::Program& program, uint32_t slot, uint32_t tokens) const {
    using fpga::ArgumentKind;
    const fpga::Span r = span(0, 64);
    program.run(fpga::kMatmul, 0,
                {r,
                 r,
                 r,
                 r,
                 r,
                 r,
                 kSecond / 64,
                 0u,
                 0u,
                 (kSecond * (2 + slot)) / 64,
                 ArgumentKind::kStatusAt,
                 tokens,
                 256u,
                 256u,
                 256u,
                 256u,
                 32u,
                 0u,
                 uint32_t{hls::kStore},
                 ArgumentKind::kStatus});
  }
  static constexpr uint32_t kSecond = 1 << 20;
  static constexpr int64_t kBytes = 8 << 20;

 private:
  static fpga::Moment soon() { return steady_clock::now() + std::chrono::seconds(30); }
  fpga::Keeper keeper_;
  std::shared_ptr<fpga::WorkerProcess> worker_;
  fpga::SharedMemory memory_;
  fpga::RegionRef region_;
};

void calls(const fpga::WorkerPlan& plan, int rounds) {
  Calls calls(plan);
  const std::vector<float> x = random_floats(256, 9, 1.0f);
  std::copy(x.begin(), x.end(), calls.values());
  fpga::Program once, bare, many;
  once.to_device(calls.span(0, 1024));
  calls.gelu(once, 16);
  once.to_host(calls.span(Calls::kSecond, 1024), 2);
  calls.run(once);
  for (size_t i = 0; i < x.size(); ++i)
    if (std::fabs(calls.values()[Calls::kSecond / 4 + i] - reference::gelu(x[i])) > 1e-6f) fail("gelu is wrong");
  print("message to the worker and back", time_of(rounds, [&] { calls.ping(); }));
  calls.gelu(bare, 1);
  print("call: one run, status words checked", time_of(rounds, [&] { calls.run(bare); }));
  print("call with a copy of 1 kB there and back", time_of(rounds, [&] { calls.run(once); }));
  for (int i = 0; i < 64; ++i) calls.gelu(many, 1);
  print("64 runs queued ahead", time_of(rounds, [&] { calls.run(many); }));
  fpga::Program single, twin;
  calls.product(single, 0, 256);
  calls.product(twin, 0, 256), calls.product(twin, 1, 256);
  print("matmul [256, 256] x [256, 256]", time_of(rounds, [&] { calls.run(single); }));
  print("two of them, on two compute units", time_of(rounds, [&] { calls.run(twin); }));
}

// Each run takes 200 ms more without computing: what overlaps shows whatever else the machine does.
void overlap(const fpga::WorkerPlan& plan, int rounds) {
  ::setenv("TESSERA_EMULATOR_FAULT", "kernel=matmul,at=0,life=0,do=slow", 1);
  Calls calls(plan);
  for (uint32_t count = 1; count <= 3; ++count) {
    fpga::Program program;
    for (uint32_t i = 0; i < count; ++i) calls.product(program, i, 1);
    const std::string what = std::to_string(count) + " runs of 200 ms on two compute units";
    print(what.c_str(), time_of(rounds, [&] { calls.run(program); }));
  }
  ::unsetenv("TESSERA_EMULATOR_FAULT");
}

int run(int rounds) {
  const fpga::Installation found = fpga::find_installation();
  if (!found.ready.ok()) fail(found.ready.error().message);
  const fpga::WorkerPlan plan = found.plan("fpga0", 0);
  std::printf("%s, %d compute units of matmul, %d rounds\n%-44s %10s %10s %10s\n",
              found.emulated ? "XRT software emulation" : "card", found.units, rounds, "", "least", "median", "95 %");
  open_and_restart(plan, std::max(3, rounds / 10));
  calls(plan, rounds);
  if (found.emulated) overlap(plan, 3);
  Bench bench(plan);
  copies(bench, rounds);
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) { return tessera::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 100); }
