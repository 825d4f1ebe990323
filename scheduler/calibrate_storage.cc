// Measures loads: the store's own extents through the storage backend, as requests read them.
#include <algorithm>
#include <cmath>

#include "framework/clock.h"
#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

constexpr int kLeastRounds = 3, kMostRounds = 9;
constexpr int kDriftPoints = 4, kDriftRounds = 7;
constexpr int kMostRows = 256;

// One kind of load: `count` shards of a layer at one bitwidth, or rows.
struct LoadKind {
  Op op = Op::kLoadShards;
  Bits bits = 0;
  int count = 0;
  std::vector<double> seconds;
  int64_t bytes = 0;
  MovePoint point() const { return {op, bits, count, false, bytes, summarise(seconds)}; }
};

class StorageProbe {
 public:
  StorageProbe(const DeviceBinding& disk, const Store& store) : disk_(disk), store_(store) {}
  ~StorageProbe() { disk_.backend->release(buffer_); }
  StorageProbe(const StorageProbe&) = delete;
  StorageProbe& operator=(const StorageProbe&) = delete;

  std::vector<LoadKind> kinds() const {
    const ModelShape& shape = store_.shape();
    std::vector<LoadKind> kinds;
    for (Bits b : shape.bitwidths) {
      std::vector<int> counts = {1, (shape.slices + 2) / 3, shape.slices};
      counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
      for (int count : counts) kinds.push_back({Op::kLoadShards, b, count, {}, 0});
    }
    for (int rows : {8, 64, kMostRows}) kinds.push_back({Op::kLoadRows, 0, rows, {}, 0});
    return kinds;
  }

  Status reserve() {
    int64_t most = kMostRows * store_.word_row(0).block.length;
    const ModelShape& shape = store_.shape();
    for (int16_t l = 0; l < shape.layers; ++l)
      for (Bits b : shape.bitwidths) {
        int64_t layer = 0;
        for (int16_t j = 0; j < shape.slices; ++j) layer += store_.shard({l, j}, b).length;
        most = std::max(most, layer);
      }
    TESSERA_ASSIGN(buffer_, disk_.backend->allocate(disk_.device, {most}));
    for (int64_t at = 0; at < most; at += 4096) buffer_.host[at] = std::byte{1};  // page faults are not the disk's
    return {};
  }

  // Runs one load and notes what it took.
  Status measure(LoadKind& kind) {
    std::vector<ReadRequest> reads = kind.op == Op::kLoadRows ? rows(kind.count) : shards(kind);
    Task task;
    task.kind = TaskKind::kLoad;
    task.cost.op = kind.op;
    kind.bytes = 0;
    for (const ReadRequest& r : reads) kind.bytes += r.length;
    task.cost.bytes = kind.bytes;
    Operands operands;
    operands.shape = &store_.shape();
    operands.reads = reads;
    const Duration start = WallClock::instance().now();
    TESSERA_ASSIGN(const Ticket ticket, disk_.backend->submit(disk_.device, task, operands));
    TESSERA_TRY(disk_.backend->wait(disk_.device, ticket, kForever));
    kind.seconds.push_back((WallClock::instance().now() - start).seconds());
    return {};
  }

 private:
  ReadRequest request(const Extent& extent, int64_t at) {
    return {extent.fd, extent.offset, extent.length, {&buffer_, at}, extent.checksum, extent.file};
  }
  // Another layer each time, as in a request: what was just read is still in a cache.
  std::vector<ReadRequest> shards(const LoadKind& kind) {
    std::vector<ReadRequest> reads;
    const auto layer = static_cast<int16_t>(++turn_ % store_.shape().layers);
    int64_t at = 0;
    for (int16_t j = 0; j < kind.count; ++j) {
      reads.push_back(request(store_.shard({layer, j}, kind.bits), at));
      at += reads.back().length;
    }
    return reads;
  }
  // Rows all over the vocabulary, others each time.
  std::vector<ReadRequest> rows(int count) {
    std::vector<ReadRequest> reads;
    for (int i = 0; i < count; ++i) {
      token_ = (token_ + 7919) % store_.shape().vocab;
      const Extent block = store_.word_row(token_).block;
      reads.push_back(request(block, i * block.length));
    }
    return reads;
  }

  const DeviceBinding disk_;
  const Store& store_;
  Buffer buffer_;
  int token_ = 0;
  int turn_ = 0;
};

// What each row after the first took beyond its bytes.
Duration per_read_of(const std::vector<LoadKind>& kinds, const PowerFit& fit) {
  std::vector<double> each;
  for (const LoadKind& k : kinds) {
    if (k.op != Op::kLoadRows || k.count < 2) continue;
    const double bytes = static_cast<double>(k.bytes);
    each.push_back((median(k.seconds) - (fit.a * std::pow(bytes, fit.b) + fit.c)) / (k.count - 1));
  }
  std::sort(each.begin(), each.end());
  return each.empty() ? Duration{} : from_seconds(std::max(0.0, each[each.size() / 2]));
}

}  // namespace

Result<StorageFigures> measure_storage(const DeviceBinding& disk, const Store& store, Duration budget) {
  StorageProbe probe(disk, store);
  TESSERA_TRY(probe.reserve());
  std::vector<LoadKind> kinds = probe.kinds();
  const Duration start = WallClock::instance().now();
  // One round in advance, not counted: it fills the page cache where that is used, and makes connections and queues. A
  // storage so slow that this round takes the whole budget is measured with fewer shards: of the lowest bitwidths, and rows.
  constexpr size_t kLeastKinds = 3;
  size_t measured = 0;
  for (LoadKind& kind : kinds) {
    const bool late = WallClock::instance().now() - start > budget;
    if (late && kind.op == Op::kLoadShards && measured >= kLeastKinds) continue;
    TESSERA_TRY(probe.measure(kind));
    ++measured;
  }
  std::erase_if(kinds, [](const LoadKind& kind) { return kind.seconds.empty(); });
  for (LoadKind& kind : kinds) kind.seconds.clear();
  for (int round = 0; round < kMostRounds; ++round) {
    if (round >= kLeastRounds && WallClock::instance().now() - start > budget) break;
    for (LoadKind& kind : kinds) TESSERA_TRY(probe.measure(kind));
  }
  std::vector<std::pair<double, double>> points;
  for (const LoadKind& kind : kinds) {
    if (kind.op == Op::kLoadRows) continue;
    for (double s : kind.seconds) points.emplace_back(static_cast<double>(kind.bytes), s);
  }
  StorageFigures figures;
  TESSERA_ASSIGN(figures.fit, fit_power(points));
  figures.per_read = per_read_of(kinds, figures.fit);
  for (const LoadKind& kind : kinds) figures.points.push_back(kind.point());
  return figures;
}

Result<double> drift_of_storage(const DeviceBinding& disk, const Store& store, const StorageFigures& figures) {
  if (figures.points.empty()) return 0.0;
  StorageProbe probe(disk, store);
  TESSERA_TRY(probe.reserve());
  std::vector<double> off;
  for (int i = 0; i < kDriftPoints; ++i) {
    const MovePoint& point = figures.points[figures.points.size() * (2 * i + 1) / (2 * kDriftPoints)];
    LoadKind kind{point.op, point.bits, point.count, {}, 0};
    if (kind.op == Op::kLoadShards && (!store.shape().has_bits(kind.bits) || kind.count > store.shape().slices)) return 1.0;
    for (int round = 0; round <= kDriftRounds; ++round) {
      TESSERA_TRY(probe.measure(kind));
      if (round == 0) kind.seconds.clear();
    }
    off.push_back(std::fabs(median(kind.seconds) / point.taken.estimate.mean.seconds() - 1));
  }
  return median(std::move(off));
}

}  // namespace tessera::calibration
