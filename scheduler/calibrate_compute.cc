// Measures computes: embed, layers and exit through the backend, on the store's weights.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "framework/clock.h"
#include "scheduler/calibrate_parts.h"
#include "shards/shard_format.h"

namespace tessera::calibration {
namespace {

constexpr int kLeastRounds = 3, kMostRounds = 9;
// Weights of one bitwidth that are used in turn: more than a core's caches hold. One bitwidth is in memory at a time.
constexpr int64_t kPoolBytes = 8 << 20;
constexpr int64_t kReadBehind = 64;  // shard_format.h: readable bytes behind a coded shard

struct Point {
  CostKey key;
  std::vector<double> seconds;
};

CostKey layer_key(DeviceId device, int tokens, int slices, Bits bits, bool decoded) {
  CostKey key;
  key.device = device;
  key.op = Op::kLayer;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  return key;
}

// An address in `room`, sized for it, from which on `bytes` lie: one that O_DIRECT accepts.
std::byte* block_aligned(std::vector<std::byte>& room, int64_t bytes) {
  room.resize(static_cast<size_t>(bytes) + 4096);
  void* at = room.data();
  size_t left = room.size();
  return static_cast<std::byte*>(std::align(4096, static_cast<size_t>(bytes), at, left));
}

// Memory of the device, and how host bytes get there.
class DeviceMemory {
 public:
  DeviceMemory(const DeviceBinding& binding, bool shared) : binding_(binding), shared_(shared) {}
  ~DeviceMemory() {
    for (auto& buffer : buffers_) binding_.backend->release(*buffer);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // A new buffer that holds `bytes` (and zeros behind them).
  Result<Buffer*> hold(const std::vector<std::byte>& bytes) {
    TESSERA_ASSIGN(Buffer buffer, binding_.backend->allocate(binding_.device, {static_cast<int64_t>(bytes.size())}));
    buffers_.push_back(std::make_unique<Buffer>(buffer));
    Buffer* held = buffers_.back().get();
    if (shared_) {
      std::memcpy(held->host, bytes.data(), bytes.size());
    } else {
      Buffer host;
      host.host = const_cast<std::byte*>(bytes.data());
      host.bytes = {static_cast<int64_t>(bytes.size())};
      TESSERA_TRY(binding_.backend->transfer(binding_.device, {held, 0}, {&host, 0}, host.bytes));
    }
    return held;
  }
  Result<Buffer*> zeros(int64_t bytes) { return hold(std::vector<std::byte>(static_cast<size_t>(bytes))); }
  // Gives back what was held since there were `count` buffers.
  size_t count() const { return buffers_.size(); }
  void release_down_to(size_t count) {
    for (; buffers_.size() > count; buffers_.pop_back()) binding_.backend->release(*buffers_.back());
  }

 private:
  const DeviceBinding binding_;
  const bool shared_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// A layer's shards in one form.
struct LayerWeights {
  int layer = 0;
  std::vector<WeightRef> slices;
};

class ComputeProbe {
 public:
  ComputeProbe(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding, const Store& store)
      : id_(id), binding_(binding), store_(store), shape_(store.shape()), memory_(binding, device.shared_with_host) {}

  // One group for each form of weights, and one for what needs none.
  std::vector<std::vector<Point>> groups() const {
    std::map<int, std::vector<Point>> by_pool;
    const auto want = [&](const CostKey& key) {
      if (binding_.backend->supports(binding_.device, key, shape_).yes) by_pool[pool_of(key)].push_back({key, {}});
    };
    std::vector<int> tokens;
    for (int t : kTokenBuckets)
      if (tokens.empty() || t <= shape_.max_tokens) tokens.push_back(std::min(t, shape_.max_tokens));
    std::vector<int> widths = {1, (shape_.slices + 1) / 2, shape_.slices};
    widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
    for (int t : tokens) {
      for (Op op : {Op::kEmbed, Op::kExit}) {
        CostKey key;
        key.device = id_;
        key.op = op;
        key.tokens = static_cast<uint16_t>(t);
        if (t == 8 || t == 128 || (op == Op::kEmbed && t == 512)) want(key);
      }
      for (int m : widths) {
        want(layer_key(id_, t, m, kExact, true));
        if (t != 16 && t != 128) continue;  // what decoding adds does not depend on T
        for (Bits b : shape_.bitwidths) want(layer_key(id_, t, m, b, false));
      }
    }
    std::vector<std::vector<Point>> groups;
    for (auto& [pool, points] : by_pool) groups.push_back(std::move(points));
    return groups;
  }

  Status prepare() {
    most_tokens_ = std::min(512, shape_.max_tokens);
    const int64_t activations = int64_t{4} * most_tokens_ * shape_.hidden;
    std::vector<std::byte> values(static_cast<size_t>(activations));
    for (int64_t i = 0; i < activations / 4; ++i) {
      const float v = static_cast<float>(i * 37 % 101 - 50) / 50;  // of a LayerNorm's size
      std::memcpy(values.data() + 4 * i, &v, 4);
    }
    TESSERA_ASSIGN(input_, memory_.hold(values));
    TESSERA_ASSIGN(output_, memory_.zeros(std::max(activations, int64_t{4} * shape_.labels)));
    row_.assign(static_cast<size_t>(shape_.hidden) * 4, std::byte{0});
    rows_.assign(static_cast<size_t>(most_tokens_), row_.data());
    types_.assign(static_cast<size_t>(most_tokens_), store_.token_type(0));
    const Extent exit = store_.exit(shape_.depths.back());
    // Exit heads are host memory for every device.
    std::byte* const aligned = block_aligned(exit_bytes_, exit.length);
    TESSERA_TRY(store_.read(exit, aligned));
    exit_ = store_.exit_refs(aligned);
    for (const auto& group : groups())
      for (const Point& point : group) workspace_bytes_ = std::max(workspace_bytes_, workspace(point.key).n);
    TESSERA_ASSIGN(workspace_, memory_.zeros(std::max<int64_t>(workspace_bytes_, 1)));
    kept_buffers_ = memory_.count();
    return {};
  }

  Status measure(Point& point, int round) {
    const CostKey& key = point.key;
    Task task;
    task.kind = TaskKind::kCompute;
    task.cost = key;
    task.layer = -1;
    Operands o;
    o.shape = &shape_;
    const int32_t starts[2] = {0, key.tokens};
    o.batch.starts = starts;
    o.input = {input_, 0};
    o.output = {output_, 0};
    RowRefs rows;
    TESSERA_TRY(bind(key, round, task, o, rows));
    o.workspace = {workspace_, 0};
    o.workspace_bytes = workspace(key).n;
    const Duration start = WallClock::instance().now();
    TESSERA_ASSIGN(const Ticket ticket, binding_.backend->submit(binding_.device, task, o));
    TESSERA_TRY(binding_.backend->wait(binding_.device, ticket, kForever));
    point.seconds.push_back((WallClock::instance().now() - start).seconds());
    return {};
  }

  // After a group: its weights leave.
  void drop_weights() {
    pool_.clear();
    memory_.release_down_to(kept_buffers_);
  }

  Bytes workspace(const CostKey& key) const { return binding_.backend->estimate(binding_.device, key, shape_).workspace; }

 private:
  Status bind(const CostKey& key, int round, Task& task, Operands& o, RowRefs& rows) {
    if (key.op == Op::kEmbed) {
      const auto count = static_cast<size_t>(key.tokens);
      rows.type = store_.exact_type();
      rows.word = rows.position = std::span<const std::byte* const>(rows_.data(), count);
      rows.token_type = std::span<const float* const>(types_.data(), count);
      rows.norm_weight = store_.embedding_norm_weight();
      rows.norm_bias = store_.embedding_norm_bias();
      o.rows = &rows;
    } else if (key.op == Op::kExit) {
      o.exit = &exit_;
    } else {
      TESSERA_ASSIGN(const LayerWeights* weights, layer_weights(key, round));
      o.weights = std::span(weights->slices).first(key.slices);
      o.residents = &store_.layer_residents(weights->layer);
      task.layer = static_cast<int16_t>(weights->layer);
      task.slice_set = first_slices(key.slices);
    }
    return {};
  }

  // The weights of this round: another layer each time.
  Result<const LayerWeights*> layer_weights(const CostKey& key, int round) {
    if (pool_.empty()) TESSERA_TRY(key.decoded ? fill_decoded(pool_) : fill_coded(pool_, level_bits(pool_of(key))));
    return &pool_[static_cast<size_t>(round) % pool_.size()];
  }

  static constexpr int kNoWeights = -2, kDecodedWeights = -1;  // else a level of bits
  static int pool_of(const CostKey& key) {
    if (key.op != Op::kLayer) return kNoWeights;
    if (key.decoded) return kDecodedWeights;
    int level = bits_level(kExact);
    for (int i = 1; i < kBitsLevels; ++i)
      if (key.bits[i] > 0) level = i;
    return level;
  }

  int copies(int64_t shard_bytes) const {
    const int64_t layer = std::max<int64_t>(1, shard_bytes * shape_.slices);
    return static_cast<int>(std::clamp<int64_t>(kPoolBytes / layer, std::min(2, shape_.layers), shape_.layers));
  }

  Status fill_coded(std::vector<LayerWeights>& pool, Bits bits) {
    const int count = copies(store_.shard({0, 0}, bits).length);
    for (int16_t l = 0; l < count; ++l) {
      LayerWeights weights;
      weights.layer = l;
      for (int16_t j = 0; j < shape_.slices; ++j) {
        const Extent extent = store_.shard({l, j}, bits);
        TESSERA_ASSIGN(const std::vector<std::byte>* bytes, read_aligned(extent));
        TESSERA_ASSIGN(Buffer * buffer, memory_.hold(*bytes));
        weights.slices.push_back(
            {j, bits, WeightForm::kCoded, store_.exact_type(), {buffer, 0}, shape_.bytes_of({l, j}, bits).n});
      }
      pool.push_back(std::move(weights));
    }
    return {};
  }

  Status fill_decoded(std::vector<LayerWeights>& pool) {
    const int64_t bytes = dense_layout(shape_, 4).bytes;
    std::vector<std::byte> shard(static_cast<size_t>(bytes + kReadBehind));
    for (int64_t i = 0; i < bytes / 4; ++i) {
      const float v = static_cast<float>(i * 31 % 97 - 48) / 1000;
      std::memcpy(shard.data() + 4 * i, &v, 4);
    }
    for (int l = 0; l < copies(bytes); ++l) {
      LayerWeights weights;
      weights.layer = l;
      for (int j = 0; j < shape_.slices; ++j) {
        TESSERA_ASSIGN(Buffer * buffer, memory_.hold(shard));
        weights.slices.push_back({j, kExact, WeightForm::kDecoded, ElementType::kF32, {buffer, 0}, bytes});
      }
      pool.push_back(std::move(weights));
    }
    return {};
  }

  // The extent's bytes with readable ones behind; valid until the next call.
  Result<const std::vector<std::byte>*> read_aligned(const Extent& extent) {
    std::vector<std::byte> room;
    std::byte* const aligned = block_aligned(room, extent.length);
    TESSERA_TRY(store_.read(extent, aligned));
    staging_.assign(aligned, aligned + extent.length);
    staging_.resize(static_cast<size_t>(extent.length + kReadBehind));
    return &staging_;
  }

  const DeviceId id_;
  const DeviceBinding binding_;
  const Store& store_;
  const ModelShape& shape_;
  DeviceMemory memory_;
  int most_tokens_ = 0;
  Buffer* input_ = nullptr;
  Buffer* output_ = nullptr;
  Buffer* workspace_ = nullptr;
  int64_t workspace_bytes_ = 0;
  std::vector<std::byte> row_, exit_bytes_, staging_;
  std::vector<const std::byte*> rows_;
  std::vector<const float*> types_;
  ExitRefs exit_;
  std::vector<LayerWeights> pool_;  // of the group that is measured
  size_t kept_buffers_ = 0;         // that are not weights
};

// A round in advance, not counted (page faults, threads). What a slow machine has no time for is left to extrapolation:
// points come by tokens, ascending.
Status measure_group(ComputeProbe& probe, std::vector<Point>& points, Duration budget) {
  const auto over = [start = WallClock::instance().now()](Duration limit) {
    return WallClock::instance().now() - start > limit;
  };
  size_t kept = 0;
  while (kept < points.size() && !(kept > 0 && over({budget.ns / 2}))) TESSERA_TRY(probe.measure(points[kept++], 0));
  points.resize(kept);
  for (Point& point : points) point.seconds.clear();
  for (int round = 1; round <= kMostRounds; ++round) {
    if (round > kLeastRounds && over(budget)) break;
    for (Point& point : points) TESSERA_TRY(probe.measure(point, round));
  }
  return {};
}

}  // namespace

Estimate summarise(std::vector<double> seconds) {
  const auto median = [](std::vector<double>& v) {
    std::sort(v.begin(), v.end());
    const size_t half = v.size() / 2;
    return v.size() % 2 == 1 ? v[half] : (v[half - 1] + v[half]) / 2;
  };
  Estimate e;
  e.samples = static_cast<int64_t>(seconds.size());
  e.provenance = Provenance::kMeasured;
  const double middle = median(seconds);
  for (double& s : seconds) s = std::fabs(s - middle);
  const double sigma = 1.4826 * median(seconds);
  e.mean = from_seconds(middle);
  e.p95 = from_seconds(middle + 1.6448536269514722 * sigma);
  e.variance_ns2 = sigma * sigma * 1e18;
  return e;
}

Result<std::vector<CostPoint>> measure_compute(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding,
                                               const Store& store, Duration budget) {
  ComputeProbe probe(id, device, binding, store);
  std::vector<std::vector<Point>> groups = probe.groups();
  size_t all = 0;
  for (const std::vector<Point>& group : groups) all += group.size();
  std::vector<CostPoint> costs;
  if (all == 0) return costs;
  TESSERA_TRY(probe.prepare());
  for (std::vector<Point>& group : groups) {
    TESSERA_TRY(measure_group(probe, group, {budget.ns / static_cast<int64_t>(all) * static_cast<int64_t>(group.size())}));
    probe.drop_weights();
    for (Point& point : group) {
      CostPoint cost;
      cost.key = point.key;
      cost.estimate = summarise(std::move(point.seconds));
      cost.estimate.workspace = probe.workspace(point.key);
      costs.push_back(cost);
    }
  }
  return costs;
}

}  // namespace tessera::calibration
