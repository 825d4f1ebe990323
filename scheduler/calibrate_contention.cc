// Measures computing while storage is read, and reading while layers are computed, against each alone.
#include <algorithm>
#include <atomic>
#include <thread>

#include "framework/clock.h"
#include "scheduler/calibrate_probe.h"

namespace tessera::calibration {
namespace {

constexpr int kLeastRounds = 4, kMostRounds = 7, kLoads = 12;
constexpr int kTokens = 64;

// Loads a layer's shards at one bitwidth, another layer each time. One thread.
class LoadLoop {
 public:
  LoadLoop(const DeviceBinding& disk, const Store& store, Bits bits) : disk_(disk), store_(store), bits_(bits) {}
  ~LoadLoop() { disk_.backend->release(buffer_); }
  LoadLoop(const LoadLoop&) = delete;
  LoadLoop& operator=(const LoadLoop&) = delete;

  Status prepare() {
    int64_t most = 0;
    for (int16_t l = 0; l < store_.shape().layers; ++l) {
      int64_t layer = 0;
      for (int16_t j = 0; j < store_.shape().slices; ++j) layer += store_.shard({l, j}, bits_).length;
      most = std::max(most, layer);
    }
    TESSERA_ASSIGN(buffer_, disk_.backend->allocate(disk_.device, {most}));
    return {};
  }

  // Seconds of one load.
  Result<double> run() {
    std::vector<ReadRequest> reads;
    Task task;
    task.kind = TaskKind::kLoad;
    task.cost.op = Op::kLoadShards;
    const auto layer = static_cast<int16_t>(round_++ % store_.shape().layers);
    for (int16_t j = 0; j < store_.shape().slices; ++j) {
      const Extent e = store_.shard({layer, j}, bits_);
      reads.push_back({e.fd, e.offset, e.length, {&buffer_, task.cost.bytes}, e.checksum, e.file});
      task.cost.bytes += e.length;
    }
    Operands operands;
    operands.shape = &store_.shape();
    operands.reads = reads;
    const Duration start = WallClock::instance().now();
    TESSERA_ASSIGN(const Ticket ticket, disk_.backend->submit(disk_.device, task, operands));
    TESSERA_TRY(disk_.backend->wait(disk_.device, ticket, kForever));
    return (WallClock::instance().now() - start).seconds();
  }

 private:
  const DeviceBinding disk_;
  const Store& store_;
  const Bits bits_;
  Buffer buffer_;
  int round_ = 0;
};

Result<std::vector<double>> compute_times(ComputeProbe& probe, const CostKey& key, Duration until,
                                          std::atomic<bool>& computing) {
  TESSERA_ASSIGN(Taken first, probe.run(key));  // brings the weights
  (void)first;
  std::vector<double> seconds;
  computing = true;
  Status failed;
  for (int round = 1; round <= kMostRounds; ++round) {
    if (round > kLeastRounds && WallClock::instance().now() > until) break;
    const auto taken = probe.run(key);
    if (!taken.ok()) failed = taken.error();
    if (!failed.ok()) break;
    seconds.push_back(taken->host);
  }
  computing = false;
  TESSERA_TRY(failed);
  return seconds;
}

// Loads on a thread of its own until told to stop; what loads took that fell into computing.
class Reader {
 public:
  Reader(LoadLoop& loads, const std::atomic<bool>& computing)
      : thread_([this, &loads, &computing] {
          while (!stop_ && status_.ok()) {
            const bool before = computing;
            const auto seconds = loads.run();
            if (!seconds.ok()) status_ = seconds.error();
            if (seconds.ok() && before && computing) seconds_.push_back(*seconds);
          }
        }) {}
  ~Reader() { join(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  Result<std::vector<double>> stop() {
    join();
    TESSERA_TRY(Status(status_));
    return seconds_;
  }

 private:
  void join() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::atomic<bool> stop_{false};
  Status status_;
  std::vector<double> seconds_;
  std::thread thread_;  // last: it uses the others
};

CostKey layer_key(DeviceId id, const ModelShape& shape, Bits bits) {
  CostKey key;
  key.device = id;
  key.op = Op::kLayer;
  key.tokens = static_cast<uint16_t>(std::min(kTokens, shape.max_tokens));
  key.slices = static_cast<uint8_t>(shape.slices);
  key.bits[bits_level(bits)] = key.slices;
  return key;
}

double ratio(const std::vector<double>& together, const std::vector<double>& alone) {
  const double base = median(alone);
  return together.empty() || base <= 0 ? 0 : median(together) / base;
}

}  // namespace

Result<std::optional<Contention>> measure_contention(DeviceId id, const DeviceDescription& device,
                                                     const DeviceBinding& binding, const DeviceBinding& disk,
                                                     const Store& store, Duration budget) {
  const ModelShape& shape = store.shape();
  const std::vector<CostKey> keys = {layer_key(id, shape, shape.bitwidths.back()),
                                     layer_key(id, shape, shape.bitwidths.front())};
  for (const CostKey& key : keys)
    if (!binding.backend->supports(binding.device, key, shape).yes) return std::optional<Contention>();
  LoadLoop loads(disk, store, shape.bitwidths.front());
  TESSERA_TRY(loads.prepare());
  std::vector<double> load_alone;
  const Duration start = WallClock::instance().now();
  const auto load = [&]() -> Status {
    for (int round = 0; round < kLoads && WallClock::instance().now() - start <= budget; ++round) {
      TESSERA_ASSIGN(const double seconds, loads.run());
      if (round > 0) load_alone.push_back(seconds);  // the first pays for page faults and a core that slept
    }
    return {};
  };
  TESSERA_TRY(load());
  if (load_alone.size() + 1 < kLoads) return std::optional<Contention>();  // too slow a storage
  ComputeProbe probe(device, binding, store);
  TESSERA_TRY(probe.prepare(keys));
  Contention found;
  std::vector<double> load_beside;
  for (size_t i = 0; i < keys.size(); ++i) {
    std::atomic<bool> computing{false};
    const auto quarter = [&] { return WallClock::instance().now() + Duration{budget.ns / 4}; };
    TESSERA_ASSIGN(const std::vector<double> alone, compute_times(probe, keys[i], quarter(), computing));
    Reader reader(loads, computing);
    TESSERA_ASSIGN(const std::vector<double> beside, compute_times(probe, keys[i], quarter(), computing));
    TESSERA_ASSIGN(const std::vector<double> read, reader.stop());
    load_beside.insert(load_beside.end(), read.begin(), read.end());
    TESSERA_TRY(load());  // alone again: whatever changes while this is measured, hits both
    (i == 0 ? found.compute : found.decode) = ratio(beside, alone);
    found.samples += static_cast<int64_t>(beside.size());
  }
  found.load = ratio(load_beside, load_alone);
  if (found.load <= 0 || found.compute <= 0 || found.decode <= 0) return std::optional<Contention>();
  return std::optional(found);
}

}  // namespace tessera::calibration
