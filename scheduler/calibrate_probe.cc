// Gives tasks their operands and times them.
#include "scheduler/calibrate_probe.h"

#include <algorithm>
#include <cstring>

#include "framework/clock.h"
#include "shards/shard_format.h"

namespace tessera::calibration {
namespace {

// Weights of one bitwidth that are used in turn: more than a core's caches hold. One bitwidth is in memory at a time.
constexpr int64_t kPoolBytes = 8 << 20;
constexpr int64_t kReadBehind = 64;  // shard_format.h: readable bytes behind a coded shard

// An address in `room`, sized for it, from which on `bytes` lie: one that O_DIRECT accepts.
std::byte* block_aligned(std::vector<std::byte>& room, int64_t bytes) {
  room.resize(static_cast<size_t>(bytes) + 4096);
  void* at = room.data();
  size_t left = room.size();
  return static_cast<std::byte*>(std::align(4096, static_cast<size_t>(bytes), at, left));
}

bool has_weights(Op op) { return op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart; }

}  // namespace

Result<Buffer*> DeviceMemory::hold(const std::vector<std::byte>& bytes) {
  TESSERA_ASSIGN(Buffer buffer, binding_.backend->allocate(binding_.device, {static_cast<int64_t>(bytes.size())}));
  buffers_.push_back(std::make_unique<Buffer>(buffer));
  Buffer* held = buffers_.back().get();
  if (!own_buffers_) {
    std::memcpy(held->host, bytes.data(), bytes.size());
    return held;
  }
  Buffer host;
  host.host = const_cast<std::byte*>(bytes.data());
  host.bytes = {static_cast<int64_t>(bytes.size())};
  TESSERA_TRY(binding_.backend->transfer(binding_.device, {held, 0}, {&host, 0}, host.bytes));
  return held;
}

void DeviceMemory::release_down_to(size_t count) {
  for (; buffers_.size() > count; buffers_.pop_back()) binding_.backend->release(*buffers_.back());
}

ComputeProbe::ComputeProbe(const DeviceDescription& device, const DeviceBinding& binding, const Store& store)
    : binding_(binding), store_(store), shape_(store.shape()), memory_(binding, device.own_buffers) {}

Status ComputeProbe::prepare(const std::vector<CostKey>& keys) {
  for (const CostKey& key : keys) most_tokens_ = std::max<int>(most_tokens_, key.tokens);
  const int64_t values = int64_t{1} * most_tokens_ * shape_.hidden;
  const std::vector<float> x = input(static_cast<size_t>(values));
  const auto bytes = std::as_bytes(std::span(x));
  TESSERA_ASSIGN(input_, memory_.hold({bytes.begin(), bytes.end()}));
  TESSERA_ASSIGN(output_, memory_.zeros(std::max(8 * values, int64_t{4} * shape_.labels)));
  if (std::any_of(keys.begin(), keys.end(), [](const CostKey& key) { return key.op == Op::kCombine; })) {
    for (int part = 0; part < 2; ++part) {
      TESSERA_ASSIGN(Buffer * partial, memory_.zeros(8 * values));
      partials_.push_back({partial, 0});
    }
  }
  TESSERA_TRY(hold_rows_and_exit());
  int64_t scratch = 1;
  for (const CostKey& key : keys) scratch = std::max(scratch, workspace(key).n);
  TESSERA_ASSIGN(workspace_, memory_.zeros(scratch));
  kept_buffers_ = memory_.count();
  return {};
}

// Both are host memory for every device.
Status ComputeProbe::hold_rows_and_exit() {
  row_.assign(static_cast<size_t>(shape_.hidden) * 4, std::byte{0});
  rows_.assign(static_cast<size_t>(most_tokens_), row_.data());
  types_.assign(static_cast<size_t>(most_tokens_), store_.token_type(0));
  const Extent exit = store_.exit(shape_.depths.back());
  std::byte* const aligned = block_aligned(exit_bytes_, exit.length);
  TESSERA_TRY(store_.read(exit, aligned));
  exit_ = store_.exit_refs(aligned);
  return {};
}

Result<Taken> ComputeProbe::run(const CostKey& key) {
  Task task;
  task.kind = TaskKind::kCompute;
  task.cost = key;
  Operands o;
  o.shape = &shape_;
  const int32_t starts[2] = {0, key.tokens};
  o.batch.starts = starts;
  o.input = {input_, 0};
  o.output = {output_, 0};
  RowRefs rows;
  TESSERA_TRY(bind(key, task, o, rows));
  o.workspace = {workspace_, 0};
  o.workspace_bytes = workspace(key).n;
  const Duration start = WallClock::instance().now();
  TESSERA_ASSIGN(const Ticket ticket, binding_.backend->submit(binding_.device, task, o));
  if (ticket != kDone) TESSERA_TRY(binding_.backend->wait(binding_.device, ticket, kForever));
  Taken taken;
  const Duration host = WallClock::instance().now() - start;
  taken.host = host.seconds();
  const std::optional<Duration> own = binding_.backend->measured(binding_.device, ticket);
  if (own && *own > Duration{} && *own <= host) taken.device = own->seconds();  // drivers do tell zero, or the future
  return taken;
}

std::vector<float> ComputeProbe::input(size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 50;
  return x;  // of a LayerNorm's size
}

Result<std::vector<float>> ComputeProbe::output(size_t count) {
  std::vector<float> y(count);
  Buffer host;
  host.host = reinterpret_cast<std::byte*>(y.data());
  host.bytes = {static_cast<int64_t>(count * sizeof(float))};
  TESSERA_TRY(binding_.backend->transfer(binding_.device, {&host, 0}, {output_, 0}, host.bytes));
  return y;
}

Status ComputeProbe::bind(const CostKey& key, Task& task, Operands& o, RowRefs& rows) {
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
  } else if (key.op == Op::kCombine) {
    o.partials = partials_;
    o.residents = &store_.layer_residents(static_cast<int>(++turn_ % static_cast<size_t>(shape_.layers)));
  } else {
    TESSERA_ASSIGN(const LayerWeights* weights, layer_weights(key));
    o.weights = std::span(weights->slices).first(key.slices);
    o.residents = &store_.layer_residents(weights->layer);
    layer_ = weights->layer;
    task.layer = static_cast<int16_t>(layer_);
    task.slice_set = first_slices(key.slices);
  }
  return {};
}

int ComputeProbe::pool_of(const CostKey& key) {
  if (!has_weights(key.op)) return kNoWeights;
  if (key.decoded) return kDecodedWeights;
  int level = bits_level(kExact);
  for (int i = 1; i < kBitsLevels; ++i)
    if (key.bits[i] > 0) level = i;
  return level;
}

// Another layer each time.
Result<const ComputeProbe::LayerWeights*> ComputeProbe::layer_weights(const CostKey& key) {
  const int wanted = pool_of(key);
  if (wanted != filled_ || pool_.empty()) {
    pool_.clear();
    memory_.release_down_to(kept_buffers_);
    TESSERA_TRY(wanted == kDecodedWeights ? fill_decoded() : fill_coded(level_bits(wanted)));
    filled_ = wanted;
  }
  return &pool_[++turn_ % pool_.size()];
}

int ComputeProbe::copies(int64_t shard_bytes) const {
  const int64_t layer = std::max<int64_t>(1, shard_bytes * shape_.slices);
  return static_cast<int>(std::clamp<int64_t>(kPoolBytes / layer, std::min(2, shape_.layers), shape_.layers));
}

Status ComputeProbe::fill_coded(Bits bits) {
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
    pool_.push_back(std::move(weights));
  }
  return {};
}

Status ComputeProbe::fill_decoded() {
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
    pool_.push_back(std::move(weights));
  }
  return {};
}

// The extent's bytes with readable ones behind; valid until the next call.
Result<const std::vector<std::byte>*> ComputeProbe::read_aligned(const Extent& extent) {
  std::vector<std::byte> room;
  std::byte* const aligned = block_aligned(room, extent.length);
  TESSERA_TRY(store_.read(extent, aligned));
  staging_.assign(aligned, aligned + extent.length);
  staging_.resize(static_cast<size_t>(extent.length + kReadBehind));
  return &staging_;
}

}  // namespace tessera::calibration
