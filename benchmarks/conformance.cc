// Measures how well each device's costs are predicted on the wall clock: calibrates, then asks about and runs tasks that
// calibration did not measure; checks what they compute, and holds the error to a stated bound.
//
// bench_conformance --store STORE [--devices all] [--threads K] [--rounds 15] [--bound 0.30] [--keys]: one line a device and
// kind of task: median and ninth decile of |predicted - measured| / measured over its keys. Exit code 1: a ninth decile is
// beyond the bound, or a result is wrong.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <unistd.h>

#include "framework/clock.h"
#include "framework/reference_ops.h"
#include "scheduler/calibrate_probe.h"
#include "shards/flat_codec.h"

namespace tessera {
void register_backends();
void register_policies();
namespace {

using calibration::ComputeProbe;

constexpr double kTolerance = 1e-3;  // of the largest value; what a backend declares is finer, and tests/conformance's

struct Options {
  std::string store, devices;
  int threads = 0, rounds = 15;
  double bound = 0.30;
  bool keys = false;  // tell each
};

Options parse(int count, char** words) {
  Options o;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const char* const value = i + 1 < count ? words[i + 1] : "";
    if (word == "--store") o.store = value;
    if (word == "--devices") o.devices = value;
    if (word == "--threads") o.threads = std::atoi(value);
    if (word == "--rounds") o.rounds = std::max(3, std::atoi(value));
    if (word == "--bound") o.bound = std::atof(value);
    if (word == "--keys") o.keys = true;
  }
  return o;
}

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(2);
}

template <typename T>
T must(Result<T> result) {
  if (!result.ok()) stop(result.error().message);
  return result.take();
}

void must(const Status& status) {
  if (!status.ok()) stop(status.error().message);
}

// Predicted and measured seconds of one kind of task.
struct Row {
  std::string kind;
  std::vector<double> errors;  // relative
  void add(double predicted, double measured) { errors.push_back(std::fabs(predicted - measured) / measured); }
  double at(double share) {
    std::sort(errors.begin(), errors.end());
    return errors[std::min(errors.size() - 1, static_cast<size_t>(share * static_cast<double>(errors.size())))];
  }
};

class Bench {
 public:
  Bench(const Machine& machine, const Store& store, const Options& options)
      : machine_(machine), store_(store), shape_(store.shape()), options_(options) {}

  // Whether the device keeps its bound, and computes what it should.
  bool run(DeviceId id) {
    const DeviceDescription& device = machine_.platform.devices[id];
    std::vector<Row> rows;
    if (device.kind == DeviceKind::kStorage) loads(id, rows);
    if (computes(device.kind)) layers(id, rows);
    bool kept = wrong_.empty();
    for (Row& row : rows) {
      if (row.errors.empty()) continue;
      const double high = row.at(0.9);
      kept = kept && high <= options_.bound;
      std::printf("%-10s %-16s %4zu keys, off by %5.1f %% at the median, %5.1f %% at the ninth decile (bound %.0f %%)%s\n",
                  device.name.c_str(), row.kind.c_str(), row.errors.size(), row.at(0.5) * 100, high * 100,
                  options_.bound * 100, high <= options_.bound ? "" : "  BEYOND");
    }
    if (rows.empty()) std::printf("%-10s has no tasks of its own to predict\n", device.name.c_str());
    for (const std::string& what : wrong_) std::printf("%-10s WRONG: %s\n", device.name.c_str(), what.c_str());
    wrong_.clear();
    return kept;
  }

 private:
  // `seconds`: what the key took, round by round.
  void compare(Row& row, const CostKey& key, const std::vector<double>& seconds) {
    const double predicted = machine_.costs->estimate(key).mean.seconds(), measured = calibration::median(seconds);
    row.add(predicted, measured);
    if (!options_.keys) return;
    int level = 0;
    for (int i = 1; i < kBitsLevels; ++i)
      if (key.bits[i] > 0) level = i;
    std::printf("  %-16s %3d tokens %2d slices %2d bits %8lld bytes: %8.1f us predicted, %8.1f measured\n", row.kind.c_str(),
                key.tokens, key.slices, level_bits(level), static_cast<long long>(key.bytes), predicted * 1e6,
                measured * 1e6);
  }

  // Slice counts between those that calibration loads. In turn, as in requests: what was loaded before has left the caches.
  void loads(DeviceId id, std::vector<Row>& rows) {
    struct Load {
      Bits bits;
      int count;
      CostKey key;
      std::vector<double> seconds;
    };
    rows.push_back({"loads", {}});
    const DeviceBinding disk = machine_.bindings[id];
    std::vector<Load> all;
    int64_t most = 0;
    for (const Bits bits : shape_.bitwidths)
      for (const int count : {2, shape_.slices / 2 + 1, shape_.slices - 1}) {
        Load load{bits, std::clamp(count, 1, shape_.slices), {}, {}};
        load.key.device = id, load.key.op = Op::kLoadShards, load.key.reads = 1;
        for (int16_t l = 0; l < shape_.layers; ++l) {
          int64_t bytes = 0;
          for (int16_t j = 0; j < load.count; ++j) bytes += store_.shard({l, j}, bits).length;
          if (l == 0) load.key.bytes = bytes;
          most = std::max(most, bytes);
        }
        all.push_back(load);
      }
    Buffer buffer = must(disk.backend->allocate(disk.device, {most}));
    for (int round = 0; round <= options_.rounds; ++round)
      for (Load& l : all) {
        const double seconds = load(disk, buffer, l.bits, l.count);
        if (round > 0) l.seconds.push_back(seconds);
        if (round == 0) check_bytes(buffer, l.bits);
      }
    disk.backend->release(buffer);
    for (const Load& l : all) compare(rows[0], l.key, l.seconds);
  }

  double load(const DeviceBinding& disk, Buffer& buffer, Bits bits, int count) {
    std::vector<ReadRequest> reads;
    Task task;
    task.kind = TaskKind::kLoad;
    task.cost.op = Op::kLoadShards;
    layer_ = static_cast<int16_t>((layer_ + 1) % shape_.layers);
    for (int16_t j = 0; j < count; ++j) {
      const Extent e = store_.shard({layer_, j}, bits);
      reads.push_back({e.fd, e.offset, e.length, {&buffer, task.cost.bytes}, e.checksum, e.file});
      task.cost.bytes += e.length;
    }
    Operands operands;
    operands.shape = &shape_;
    operands.reads = reads;
    const Duration start = WallClock::instance().now();
    const Ticket ticket = must(disk.backend->submit(disk.device, task, operands));
    must(disk.backend->wait(disk.device, ticket, kForever));
    return (WallClock::instance().now() - start).seconds();
  }

  // The first extent of the last load, against one pread of it.
  void check_bytes(const Buffer& buffer, Bits bits) {
    const Extent e = store_.shard({layer_, 0}, bits);
    std::vector<std::byte> room(static_cast<size_t>(e.length) + 4096);
    void* at = room.data();
    size_t left = room.size();
    auto* const want = static_cast<std::byte*>(std::align(4096, static_cast<size_t>(e.length), at, left));
    must(store_.read(e, want));
    if (!std::equal(want, want + e.length, buffer.host)) wrong_.push_back("an extent at " + std::to_string(bits) + " bits");
  }

  // Token and slice counts between those of calibration.
  void layers(DeviceId id, std::vector<Row>& rows) {
    rows = {{"layers, coded", {}}, {"layers, decoded", {}}};
    std::vector<CostKey> keys;
    for (const bool decoded : {false, true})
      for (const Bits bits : shape_.bitwidths) {
        if (decoded && (bits != kExact || machine_.platform.devices[id].own_buffers))
          continue;  // decoded weights lie in host memory only
        for (const int tokens : {10, 24, 48, 100, 200})
          for (const int slices : {2, shape_.slices / 4 + 1, shape_.slices - 2}) {
            CostKey key;
            key.device = id, key.op = Op::kLayer, key.decoded = decoded;
            key.tokens = static_cast<uint16_t>(std::min(tokens, shape_.max_tokens));
            key.slices = static_cast<uint8_t>(std::clamp(slices, 1, shape_.slices));
            key.bits[bits_level(bits)] = key.slices;
            const DeviceBinding& b = machine_.bindings[id];
            if (b.backend->supports(b.device, key, shape_).yes) keys.push_back(key);
          }
      }
    if (keys.empty()) return;
    ComputeProbe probe(machine_.platform.devices[id], machine_.bindings[id], store_);
    must(probe.prepare(keys));
    // Keys of one pool of weights in turn, as in calibration and in requests: weights that are not in a cache.
    for (size_t from = 0, to = 0; from < keys.size(); from = to) {
      while (to < keys.size() && ComputeProbe::pool_of(keys[to]) == ComputeProbe::pool_of(keys[from])) ++to;
      std::vector<std::vector<double>> seconds(to - from);
      for (int round = 0; round <= options_.rounds; ++round)
        for (size_t i = from; i < to; ++i) {
          const double taken = must(probe.run(keys[i])).host;
          if (round > 0) seconds[i - from].push_back(taken);
          if (round == 0 && !keys[i].decoded && keys[i].tokens == 10) check_layer(probe, keys[i]);
        }
      for (size_t i = from; i < to; ++i) compare(rows[keys[i].decoded ? 1 : 0], keys[i], seconds[i - from]);
    }
  }

  // The layer that was just run, against the reference operators on the same shards.
  void check_layer(ComputeProbe& probe, const CostKey& key) {
    const Bits bits = level_bits(ComputeProbe::pool_of(key));
    std::vector<reference::SliceWeights> weights(key.slices);
    std::vector<reference::SlicePart> parts;
    for (int16_t j = 0; j < key.slices; ++j) {
      const ShardId id{static_cast<int16_t>(probe.layer()), j};
      const Extent e = store_.shard(id, bits);
      std::vector<std::byte> room(static_cast<size_t>(e.length) + 4096 + 64);
      void* at = room.data();
      size_t left = room.size();
      auto* const data = static_cast<std::byte*>(std::align(4096, static_cast<size_t>(e.length), at, left));
      must(store_.read(e, data));
      const DenseShard dense = must(decode_shard(shape_, bits, store_.exact_type(), data, shape_.bytes_of(id, bits).n));
      weights[j] = {dense[0], dense[1], dense[2], dense[3], dense[4], dense[5]};
      parts.push_back({j, &weights[j]});
    }
    const LayerResidents& r = store_.layer_residents(probe.layer());
    const auto of = [](const float* from, int count) { return std::vector<float>(from, from + count); };
    const int d = shape_.hidden;
    const reference::LayerBiases biases = {.query = of(r.query_bias, d),
                                           .key = of(r.key_bias, d),
                                           .value = of(r.value_bias, d),
                                           .attention = of(r.attention_bias, d),
                                           .attention_norm_weight = of(r.attention_norm_weight, d),
                                           .attention_norm_bias = of(r.attention_norm_bias, d),
                                           .up = of(r.ffn_up_bias, shape_.ffn),
                                           .down = of(r.ffn_down_bias, d),
                                           .ffn_norm_weight = of(r.ffn_norm_weight, d),
                                           .ffn_norm_bias = of(r.ffn_norm_bias, d)};
    const size_t count = static_cast<size_t>(key.tokens) * shape_.hidden;
    std::vector<float> want(count);
    reference::layer(shape_, ComputeProbe::input(count), key.tokens, parts, biases, want);
    const std::vector<float> got = must(probe.output(count));
    double off = 0, scale = 0;
    for (size_t i = 0; i < count; ++i) {
      off = std::max(off, std::fabs(static_cast<double>(got[i]) - want[i]));
      scale = std::max(scale, std::fabs(static_cast<double>(want[i])));
    }
    if (!(off <= kTolerance * scale))
      wrong_.push_back("a layer at " + std::to_string(bits) + " bits is off by " + std::to_string(off / scale));
  }

  const Machine& machine_;
  const Store& store_;
  const ModelShape& shape_;
  const Options& options_;
  int16_t layer_ = 0;  // of the last load
  std::vector<std::string> wrong_;
};

int run(const Options& options) {
  register_backends();
  register_policies();
  const auto store = must(Store::open(options.store));
  std::vector<std::string> names;
  if (!options.devices.empty()) names.push_back(options.devices);
  Machine machine = must(local_machine({.threads = options.threads, .bandwidth_cap = {}}, names));
  const std::string folder = std::filesystem::temp_directory_path() / ("tessera-bench-" + std::to_string(::getpid()));
  CalibrationOptions calibration;
  calibration.directory = folder;
  calibration.again = calibration.quiet = true;
  calibration.version = "bench";
  const Calibration calibrated = must(calibrate(machine, *store, calibration));
  std::filesystem::remove_all(folder);
  std::printf("calibrated in %s; %d rounds a key\n", to_string(calibrated.took).c_str(), options.rounds);
  Bench bench(machine, *store, options);
  bool kept = true;
  for (size_t d = 0; d < machine.bindings.size(); ++d) kept = bench.run(static_cast<DeviceId>(d)) && kept;
  return kept ? 0 : 1;
}

}  // namespace
}  // namespace tessera

int main(int count, char** words) { return tessera::run(tessera::parse(count, words)); }
