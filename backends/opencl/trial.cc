// Runs a whole layer with each candidate on weights of zeros: neither products nor decoding depend on values.
#include "backends/opencl/trial.h"

#include <algorithm>

#include "backends/opencl/work.h"
#include "framework/clock.h"
#include "shards/shard_format.h"

namespace tessera::opencl {
namespace {

constexpr Bits kBits = 4;
constexpr int kRounds = 4;  // the first one warms up (drivers finish kernels when they first run)

// A coded shard without outliers is all zeros but for its size.
int64_t zero_shard_bytes(const ModelShape& shape) {
  int64_t at = 0;
  for (int i = 0; i < kMatrixCount; ++i) {
    const MatrixDims dims = matrix_dims(shape, static_cast<MatrixKind>(i));
    at =
        round_up(at + (int64_t{4} << kBits) + 4 * (dims.panels() + 1) + dims.padded_weights() / 8 * kBits, kMatrixAlignment);
  }
  return at;
}

// Buffers of one layer of `tokens`.
class Trial {
 public:
  Trial(Device& device, const ModelShape& shape, int tokens) : device_(device), shape_(shape), starts_{0, tokens} {
    shard_bytes_ = zero_shard_bytes(shape);
    values_.resize(static_cast<size_t>(shape.hidden) + static_cast<size_t>(shape.ffn));
    const float* v = values_.data();
    residents_ = {0, v, v, v, v, v, v, v, v, v, v};
    operands_.shape = &shape_;
    operands_.batch.starts = starts_;
    operands_.residents = &residents_;
  }
  ~Trial() {
    for (Buffer& b : buffers_) Device::release(static_cast<DeviceMemory*>(b.native));
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  Status prepare() {
    buffers_.reserve(3);
    const int64_t x_bytes = int64_t{4} * operands_.batch.tokens() * shape_.hidden;
    TESSERA_ASSIGN(const MemoryRef shard, zeros(shard_bytes_));
    TESSERA_ASSIGN(operands_.input, zeros(x_bytes));
    operands_.output = operands_.input;
    for (int j = 0; j < shape_.slices; ++j)
      weights_.push_back({j, kBits, WeightForm::kCoded, ElementType::kF16, shard, shard_bytes_});
    operands_.weights = weights_;
    operands_.workspace_bytes = lay_out(shape_, Op::kLayer, work_size(operands_), stored_bytes(shape_)).bytes;
    TESSERA_ASSIGN(operands_.workspace, zeros(operands_.workspace_bytes));
    return {};
  }

  // The least of a few runs.
  Result<Duration> time() {
    Duration least = kForever;
    for (int round = 0; round < kRounds; ++round) {
      const Duration start = WallClock::instance().now();
      Commands commands = device_.begin(Queue::kCompute, "trial of tiles");
      record_layer(device_, commands, Op::kLayer, operands_);
      TESSERA_ASSIGN(const Ticket ticket, device_.launch(Queue::kCompute, commands));
      TESSERA_TRY(device_.wait(Queue::kCompute, ticket, kForever));
      const Duration took = WallClock::instance().now() - start;
      if (round > 0) least = std::min(least, device_.measured(Queue::kCompute, ticket).value_or(took));
    }
    return least;
  }

 private:
  Result<MemoryRef> zeros(int64_t bytes) {
    TESSERA_ASSIGN(Buffer buffer, device_.allocate(Bytes{bytes}));
    buffers_.push_back(buffer);
    const MemoryRef ref{&buffers_.back(), 0};
    Commands commands = device_.begin(Queue::kLink, "trial of tiles");
    commands.write(place_of(ref), commands.keep(bytes), bytes);
    TESSERA_ASSIGN(const Ticket ticket, device_.launch(Queue::kLink, commands));
    TESSERA_TRY(device_.wait(Queue::kLink, ticket, kForever));
    return ref;
  }

  Device& device_;
  const ModelShape& shape_;
  std::vector<int32_t> starts_;
  std::vector<float> values_;
  LayerResidents residents_;
  std::vector<WeightRef> weights_;
  std::vector<Buffer> buffers_;  // three at most: references stay valid
  Operands operands_;
  int64_t shard_bytes_ = 0;
};

// The fastest tile for `tokens`; one that does not build or run is no candidate.
Result<Tile> fastest(Device& device, const ModelShape& shape, int tokens) {
  const bool few = tokens <= kFewTokens;
  Trial trial(device, shape, tokens);
  TESSERA_TRY(trial.prepare());
  const Tuning before = device.tuning();
  Tile best = few ? before.few : before.many;
  Duration least = kForever;
  for (const Tile& tile : candidates(device.facts(), few)) {
    Tuning next = before;
    (few ? next.few : next.many) = tile;
    if (!device.set_tuning(next).ok()) continue;
    const Result<Duration> took = trial.time();
    if (took.ok() && *took < least) least = *took, best = tile;
  }
  TESSERA_TRY(device.set_tuning(before));
  return best;
}

}  // namespace

Result<Tuning> try_tiles(Device& device, const ModelShape& shape) {
  const int longest = std::max(1, shape.max_tokens);
  Tuning found = device.tuning();
  TESSERA_ASSIGN(found.few, fastest(device, shape, std::min(kFewTokens / 2, longest)));
  if (longest > kFewTokens) { TESSERA_ASSIGN(found.many, fastest(device, shape, std::min(4 * kFewTokens, longest))); }
  TESSERA_TRY(device.set_tuning(found));
  device.keep_binaries();
  return found;
}

}  // namespace tessera::opencl
