// Drives a backend through batches of ragged sequences.
#include "shards/profiler_forward.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "framework/clock.h"
#include "shards/profiler_probes.h"

namespace tessera {
namespace {

constexpr int kChunkTokens = 1024;
constexpr Duration kPatience = milliseconds(200);
constexpr Duration kLongest = milliseconds(120'000);  // one chunk of one layer

BitsHistogram histogram(const std::vector<WeightRef>& weights) {
  BitsHistogram out{};
  for (const WeightRef& w : weights) ++out[static_cast<size_t>(bits_level(w.bits))];
  return out;
}

// Extents are multiples of 4096 and O_DIRECT wants them aligned; coded shards want 64 readable bytes behind.
using Block = std::unique_ptr<std::byte, decltype(&std::free)>;
Result<Block> read_extent(const Store& store, const Extent& extent) {
  Block block(static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>(extent.length) + 4096)), &std::free);
  if (!block)
    return Error{ErrorCode::kData, std::string(extent.file) + ": no memory for " + to_string(Bytes{extent.length})};
  TESSERA_TRY(store.read(extent, block.get()));
  return block;
}

Status cancelled() { return Error{ErrorCode::kCancelled, "interrupted"}; }

}  // namespace

Result<DeviceMemory> DeviceMemory::allocate(Backend& backend, int device, int64_t bytes) {
  TESSERA_ASSIGN(Buffer buffer, backend.allocate(device, Bytes{bytes}));
  DeviceMemory memory;
  memory.backend_ = &backend;
  memory.device_ = device;
  memory.buffer_ = std::make_unique<Buffer>(buffer);
  return memory;
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(device_, other.device_);
  std::swap(buffer_, other.buffer_);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (buffer_) backend_->release(*buffer_);
}

Status DeviceMemory::fill(const std::byte* from, int64_t bytes) {
  Buffer host{const_cast<std::byte*>(from), nullptr, Bytes{bytes}, 0, 0};
  return backend_->transfer(device_, ref(), {&host, 0}, Bytes{bytes});
}

Status DeviceMemory::copy_out(std::byte* to, int64_t bytes) const {
  Buffer host{to, nullptr, Bytes{bytes}, 0, 0};
  return backend_->transfer(device_, {&host, 0}, ref(), Bytes{bytes});
}

Result<LoadedWeights> LoadedWeights::load(const Store& store, Backend& backend, int device,
                                          const std::atomic<bool>* cancel) {
  const ModelShape& shape = store.shape();
  LoadedWeights out;
  out.store_ = &store;
  out.shards_.resize(static_cast<size_t>(shape.layers) * static_cast<size_t>(shape.slices) * kBitsLevels);
  for (int i = 0; i < shape.layers * shape.slices; ++i) {
    if (cancel && cancel->load()) return cancelled().error();
    const ShardId id{static_cast<int16_t>(i / shape.slices), static_cast<int16_t>(i % shape.slices)};
    for (const Bits bits : shape.bitwidths) {
      const Extent extent = store.shard(id, bits);
      TESSERA_ASSIGN(const Block block, read_extent(store, extent));
      Held& held = out.shards_[static_cast<size_t>(i) * kBitsLevels + static_cast<size_t>(bits_level(bits))];
      held.bytes = extent.payload;
      TESSERA_ASSIGN(held.memory, DeviceMemory::allocate(backend, device, extent.length + 64));
      TESSERA_TRY(held.memory.fill(block.get(), extent.length));
    }
  }
  for (int depth = 1; depth <= shape.layers; ++depth) {
    out.exits_.emplace_back();
    out.exit_bytes_.emplace_back();
    if (!shape.legal_depth(depth)) continue;
    const Extent extent = store.exit(depth);
    TESSERA_ASSIGN(const Block block, read_extent(store, extent));
    out.exit_bytes_.back() = std::make_unique<std::byte[]>(static_cast<size_t>(extent.length));
    std::memcpy(out.exit_bytes_.back().get(), block.get(), static_cast<size_t>(extent.length));
    out.exits_.back() = store.exit_refs(out.exit_bytes_.back().get());
  }
  return out;
}

WeightRef LoadedWeights::shard(int layer, int slice, Bits bits) const {
  const size_t at =
      (static_cast<size_t>(layer) * static_cast<size_t>(store_->shape().slices) + static_cast<size_t>(slice)) * kBitsLevels +
      static_cast<size_t>(bits_level(bits));
  return {slice, bits, WeightForm::kCoded, store_->exact_type(), shards_[at].memory.ref(), shards_[at].bytes};
}

Result<std::unique_ptr<ProbeRunner>> ProbeRunner::create(const Store& store, const LoadedWeights& weights, Backend& backend,
                                                         int device, std::span<const Encoding> sequences) {
  std::unique_ptr<ProbeRunner> runner(new ProbeRunner(store, weights, backend, device));
  TESSERA_TRY(runner->prepare(sequences));
  return runner;
}

ProbeRunner::~ProbeRunner() = default;

Status ProbeRunner::prepare(std::span<const Encoding> sequences) {
  for (size_t begin = 0; begin < sequences.size();) {
    size_t end = begin;
    for (int tokens = 0; end < sequences.size() && (end == begin || tokens + sequences[end].tokens() <= kChunkTokens); ++end)
      tokens += sequences[end].tokens();
    TESSERA_TRY(add_chunk(sequences.subspan(begin, end - begin)));
    begin = end;
  }
  blocks_.clear();
  return {};
}

Status ProbeRunner::add_chunk(std::span<const Encoding> sequences) {
  const ModelShape& shape = store_.shape();
  Chunk& chunk = chunks_.emplace_back();
  for (const Encoding& sequence : sequences) {
    chunk.starts.push_back(chunk.starts.back() + sequence.tokens());
    chunk.longest = std::max(chunk.longest, sequence.tokens());
  }
  const int64_t bytes = int64_t{4} * chunk.starts.back() * shape.hidden;
  tokens_ += chunk.starts.back();
  for (int l = 0; l <= shape.layers; ++l) {
    TESSERA_ASSIGN(DeviceMemory memory, DeviceMemory::allocate(backend_, device_, bytes));
    chunk.activations.push_back(std::move(memory));
  }
  const int64_t logits = int64_t{4} * static_cast<int64_t>(sequences.size()) * shape.labels;
  TESSERA_ASSIGN(chunk.logits, DeviceMemory::allocate(backend_, device_, logits));
  return embed(chunk, sequences);
}

Result<const std::byte*> ProbeRunner::row(const RowLocation& location) {
  const auto at = std::lower_bound(blocks_.begin(), blocks_.end(), location.block.offset,
                                   [](const auto& block, int64_t offset) { return block.first < offset; });
  if (at != blocks_.end() && at->first == location.block.offset) return at->second.get() + location.offset;
  TESSERA_ASSIGN(const Block read, read_extent(store_, location.block));
  auto copy = std::make_unique<std::byte[]>(static_cast<size_t>(location.block.length));
  std::memcpy(copy.get(), read.get(), static_cast<size_t>(location.block.length));
  const std::byte* bytes = copy.get();
  blocks_.emplace(at, location.block.offset, std::move(copy));
  return bytes + location.offset;
}

Status ProbeRunner::embed(Chunk& chunk, std::span<const Encoding> sequences) {
  std::vector<const std::byte*> word, position;
  std::vector<const float*> type;
  for (const Encoding& sequence : sequences) {
    for (int t = 0; t < sequence.tokens(); ++t) {
      TESSERA_ASSIGN(const std::byte* word_row, row(store_.word_row(sequence.ids[static_cast<size_t>(t)])));
      TESSERA_ASSIGN(const std::byte* position_row, row(store_.position_row(t)));
      word.push_back(word_row);
      position.push_back(position_row);
      type.push_back(store_.token_type(sequence.types[static_cast<size_t>(t)]));
    }
  }
  const RowRefs rows{store_.exact_type(),         word, position, type, store_.embedding_norm_weight(),
                     store_.embedding_norm_bias()};
  Operands operands;
  operands.rows = &rows;
  operands.output = chunk.activations[0].ref();
  return execute(Op::kEmbed, chunk, {}, operands);
}

Status ProbeRunner::layer(int l, const std::vector<Bits>& bits, const Step& step) {
  const int slices = store_.shape().slices;
  std::vector<WeightRef> weights;
  for (int j = 0; j < slices; ++j) {
    const Bits b = bits[shard_at(slices, l, j)];
    if (b != kAbsent) weights.push_back(weights_.shard(l, j, b));
  }
  for (Chunk& chunk : chunks_) {
    Operands operands;
    operands.input = chunk.activations[static_cast<size_t>(l)].ref();
    operands.output = chunk.activations[static_cast<size_t>(l) + 1].ref();
    operands.weights = weights;
    operands.residents = &store_.layer_residents(l);
    TESSERA_TRY(execute(Op::kLayer, chunk, histogram(weights), operands));
    TESSERA_TRY(step(static_cast<int64_t>(chunk.starts.back()) * static_cast<int64_t>(weights.size())));
  }
  return {};
}

Status ProbeRunner::exit(int depth, Chunk& chunk, std::vector<float>* logits) {
  Operands operands;
  operands.input = chunk.activations[static_cast<size_t>(depth)].ref();
  operands.output = chunk.logits.ref();
  operands.exit = &weights_.exit(depth);
  TESSERA_TRY(execute(Op::kExit, chunk, {}, operands));
  std::vector<float> part((chunk.starts.size() - 1) * static_cast<size_t>(store_.shape().labels));
  TESSERA_TRY(chunk.logits.copy_out(reinterpret_cast<std::byte*>(part.data()), static_cast<int64_t>(part.size() * 4)));
  logits->insert(logits->end(), part.begin(), part.end());
  return {};
}

Result<std::vector<float>> ProbeRunner::run(int depth, const std::vector<Bits>& bits, const Step& step) {
  const size_t row = static_cast<size_t>(store_.shape().slices), wanted = static_cast<size_t>(depth) * row;
  const auto differ =
      std::mismatch(computed_.begin(), computed_.end(), bits.begin(), bits.begin() + static_cast<long>(wanted));
  const size_t shared = static_cast<size_t>(differ.first - computed_.begin()) / row;
  if (shared < static_cast<size_t>(depth)) {
    computed_.resize(shared * row);
    for (int l = static_cast<int>(shared); l < depth; ++l) {
      TESSERA_TRY(layer(l, bits, step));
      const auto at = bits.begin() + static_cast<long>(static_cast<size_t>(l) * row);
      computed_.insert(computed_.end(), at, at + static_cast<long>(row));
    }
  }
  std::vector<float> logits;
  for (Chunk& chunk : chunks_) TESSERA_TRY(exit(depth, chunk, &logits));
  return logits;
}

Status ProbeRunner::execute(Op op, const Chunk& chunk, const BitsHistogram& bits, Operands& operands) {
  operands.shape = &store_.shape();
  operands.batch = {chunk.starts};
  Task task;
  task.id = 0;
  task.cost.op = op;
  task.cost.batch = static_cast<uint16_t>(operands.batch.size());
  task.cost.tokens = static_cast<uint16_t>(chunk.longest);
  task.cost.slices = static_cast<uint8_t>(operands.weights.size());
  task.cost.bits = bits;
  if (const Support support = backend_.supports(device_, task.cost, store_.shape()); !support.yes)
    return Error{ErrorCode::kUnavailable, "profile: the device cannot run this model: " + support.why};
  const int64_t needed = backend_.estimate(device_, task.cost, store_.shape()).workspace.n;
  if (needed > workspace_bytes_) {
    TESSERA_ASSIGN(workspace_, DeviceMemory::allocate(backend_, device_, needed));
    workspace_bytes_ = needed;
  }
  operands.workspace = workspace_bytes_ > 0 ? workspace_.ref() : MemoryRef{};
  operands.workspace_bytes = workspace_bytes_;
  TESSERA_ASSIGN(const Ticket ticket, backend_.submit(device_, task, operands));
  const Duration start = WallClock::instance().now();
  for (;;) {
    const Duration now = WallClock::instance().now();
    Status done = backend_.wait(device_, ticket, now + kPatience);
    if (done.ok() || done.error().code != ErrorCode::kDeadline) return done;
    if (now - start > kLongest) backend_.cancel(device_, ticket);
  }
}

}  // namespace tessera
