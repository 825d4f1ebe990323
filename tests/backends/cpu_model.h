// Runs a whole stored model on a backend, weights resident: what the golden test checks and the benchmarks time.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "framework/backend.h"
#include "shards/flat_codec.h"
#include "shards/store.h"

namespace tessera::testing {

// 4096-aligned memory with 64 readable bytes behind. Aborts with the message where a file cannot be read.
class Held {
 public:
  explicit Held(int64_t bytes)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>((bytes + 64 + 4095) / 4096 * 4096))),
                &std::free),
        buffer_(std::make_unique<Buffer>()) {
    std::memset(memory_.get(), 0, static_cast<size_t>(bytes));
    *buffer_ = {.host = memory_.get(), .bytes = Bytes{bytes}};
  }
  Held(const Store& store, const Extent& extent) : Held(extent.length) {
    if (const Status read = store.read(extent, memory_.get()); !read.ok()) {
      std::fprintf(stderr, "%s\n", read.error().message.c_str());
      std::abort();
    }
  }
  std::byte* data() const { return memory_.get(); }
  int64_t bytes() const { return buffer_->bytes.n; }
  MemoryRef ref() const { return {buffer_.get(), 0}; }

 private:
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  std::unique_ptr<Buffer> buffer_;
};

// All shards of one bitwidth in memory, and the rows of whatever is asked for.
class ResidentModel {
 public:
  ResidentModel(const Store& store, Bits bits, WeightForm form) : store_(store) {
    const ModelShape& shape = store.shape();
    for (int l = 0; l < shape.layers; ++l) {
      for (int j = 0; j < shape.slices; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        Held stored(store, store.shard(id, bits));
        if (form == WeightForm::kDecoded) {
          const auto dense = decode_shard(shape, bits, store.exact_type(), stored.data(), stored.bytes());
          const auto panels = to_panels(shape, *dense);
          Held decoded(static_cast<int64_t>(panels.size()) * 4);
          std::memcpy(decoded.data(), panels.data(), panels.size() * 4);
          stored = std::move(decoded);
        }
        held_.push_back(std::move(stored));
        weights_.push_back({j, bits, form, store.exact_type(), held_.back().ref(), held_.back().bytes()});
      }
      exits_.emplace_back(store, store.exit(l + 1));
      exit_refs_.push_back(store.exit_refs(exits_.back().data()));
    }
  }
  const Store& store() const { return store_; }
  std::span<const WeightRef> layer(int l, int slices) const {
    return std::span(weights_).subspan(static_cast<size_t>(l) * store_.shape().slices, static_cast<size_t>(slices));
  }
  const ExitRefs& exit(int depth) const { return exit_refs_[depth - 1]; }
  int64_t weight_bytes() const {
    int64_t sum = 0;
    for (const WeightRef& w : weights_) sum += w.bytes;
    return sum;
  }

 private:
  const Store& store_;
  std::vector<Held> held_, exits_;
  std::vector<WeightRef> weights_;
  std::vector<ExitRefs> exit_refs_;
};

// One input, its rows read beforehand; run() is what a request computes.
class Forward {
 public:
  Forward(Backend& backend, const ResidentModel& model, const std::vector<int32_t>& ids)
      : backend_(backend),
        model_(model),
        starts_{0, static_cast<int32_t>(ids.size())},
        x_(static_cast<int64_t>(ids.size()) * model.store().shape().hidden * 4),
        logits_(model.store().shape().labels * 4),
        workspace_(largest_workspace()) {
    const Store& store = model.store();
    for (size_t t = 0; t < ids.size(); ++t) {
      for (const RowLocation& row : {store.word_row(ids[t]), store.position_row(static_cast<int>(t))}) {
        rows_.emplace_back(store, row.block);
        (rows_.size() % 2 == 1 ? word_ : position_).push_back(rows_.back().data() + row.offset);
      }
      type_.push_back(store.token_type(0));
    }
    refs_ = {store.exact_type(), word_, position_, type_, store.embedding_norm_weight(), store.embedding_norm_bias()};
  }

  // The logits of the sub-model of `depth` layers and the first `slices` slices.
  std::vector<float> run(int depth, int slices) {
    step(Op::kEmbed, 0, 0);
    for (int l = 0; l < depth; ++l) step(Op::kLayer, l, slices);
    step(Op::kExit, depth, 0);
    const auto* at = reinterpret_cast<const float*>(logits_.data());
    return {at, at + model_.store().shape().labels};
  }
  int64_t workspace_bytes() const { return workspace_.bytes(); }

  // One task, waited for.
  void step(Op op, int at, int slices) {
    Operands o;
    o.shape = &model_.store().shape();
    o.batch.starts = starts_;
    o.input = o.output = x_.ref();
    o.workspace = workspace_.ref();
    o.workspace_bytes = workspace_.bytes();
    o.rows = &refs_;
    if (op == Op::kExit) o.exit = &model_.exit(at), o.output = logits_.ref();
    if (op == Op::kLayer) o.residents = &model_.store().layer_residents(at), o.weights = model_.layer(at, slices);
    Task task;
    task.cost = key(op, slices);
    const auto ticket = backend_.submit(0, task, o);
    const Status status = ticket.ok() ? backend_.wait(0, *ticket, kForever) : Status(ticket.error());
    if (status.ok()) return;
    std::fprintf(stderr, "%s\n", status.error().message.c_str());
    std::abort();
  }

 private:
  CostKey key(Op op, int slices) const {
    CostKey k;
    k.op = op;
    k.tokens = static_cast<uint16_t>(starts_[1]);
    k.slices = static_cast<uint8_t>(slices);
    return k;
  }
  int64_t largest_workspace() const {
    const ModelShape& shape = model_.store().shape();
    return std::max(backend_.estimate(0, key(Op::kLayer, shape.slices), shape).workspace.n,
                    backend_.estimate(0, key(Op::kExit, 0), shape).workspace.n);
  }

  Backend& backend_;
  const ResidentModel& model_;
  std::vector<int32_t> starts_;
  std::vector<Held> rows_;
  std::vector<const std::byte*> word_, position_;
  std::vector<const float*> type_;
  RowRefs refs_;
  Held x_, logits_, workspace_;
};

}  // namespace tessera::testing
