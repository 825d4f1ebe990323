// Opens sessions on small stores with the real backends, under a policy that each test writes itself; and computes what a
// plan must answer with the reference operators.
#pragma once

#include <bit>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "framework/reference_ops.h"
#include "framework/registry.h"
#include "graph_cases.h"
#include "scheduler/session.h"
#include "shards/codec_elements.h"
#include "shards/flat_codec.h"
#include "tests/support/tiny_model.h"

namespace tessera {
void register_backends();
void register_policies();
}  // namespace tessera

namespace tessera::testing {

// What policy "scripted" does: set by each test before it plans.
struct Script {
  std::function<Result<Decision>(const PlanningView&)> decide;
  std::function<Result<Residency>(const PlanningView&)> preload;
  std::function<void(const Event&, PlanEditor&)> on_event;  // set: it re-plans
  int decisions = 0;
  static Script& now() {
    static Script script;
    return script;
  }
};

class ScriptedPolicy final : public Policy {
 public:
  std::string_view name() const override { return "scripted"; }
  std::string_view summary() const override { return "does what a test says"; }
  Result<Residency> preload(const PlanningView& view) override {
    return Script::now().preload ? Script::now().preload(view) : Residency{};
  }
  Result<Decision> decide(const PlanningView& view) override {
    ++Script::now().decisions;
    return Script::now().decide(view);
  }
  bool replans(const Knobs&) const override { return Script::now().on_event != nullptr; }
  void on_event(const Event& event, PlanEditor& editor) override { Script::now().on_event(event, editor); }
};

inline void register_all() {
  static const bool once = [] {
    register_backends();
    register_policies();
    policies().add("scripted", [] { return std::make_unique<ScriptedPolicy>(); });
    return true;
  }();
  (void)once;
  Script::now() = {};
}

// Plans depth x the first `width` slices at `bits`, whatever the budgets are.
inline void script_plain(int depth, int width, Bits bits) {
  Script::now().decide = [=](const PlanningView& view) -> Result<Decision> {
    return Decision{plain_plan(view.shape, depth, width, bits, view.residency)};
  };
}

inline RequestOptions scripted() {
  RequestOptions options;
  options.policy = "scripted";
  return options;
}

// This machine with the backends' own estimates as costs.
inline Machine machine_for(const ModelShape& shape, int threads = 1) {
  Machine machine = local_machine({.threads = threads}, {"cpu0"}).take();
  for (size_t d = 0; d < machine.bindings.size(); ++d) {
    const DeviceBinding binding = machine.bindings[d];
    machine.costs->set_guess(static_cast<DeviceId>(d), [binding, &shape](const CostKey& key) {
      return binding.backend->estimate(binding.device, key, shape);
    });
  }
  return machine;
}

struct Rig {
  explicit Rig(TinyStore made, Bytes tokenizer = {}) : tiny(std::move(made)) {
    register_all();
    machine = machine_for(tiny.store->shape());
    auto opened = Session::open(tiny.store->shape(), tiny.store.get(), accuracy, machine, tokenizer);
    if (!opened.ok()) ADD_FAILURE() << opened.error().message;
    session = opened.take();
  }
  explicit Rig(const TinyModel& model = {}) : Rig(make_tiny_store(model)) {}
  Result<Answer> run(const RequestOptions& options, const std::vector<int32_t>& ids) {
    return session->run(options, ids, std::vector<int32_t>(ids.size(), 0));
  }
  TinyStore tiny;
  AccuracyModel accuracy;
  Machine machine;
  std::unique_ptr<Session> session;
};

inline std::vector<float> floats_at(const std::byte* at, size_t count, ElementType type) {
  std::vector<float> out(count);
  decode_elements(type, at, static_cast<int64_t>(count), out.data());
  return out;
}

inline std::vector<std::byte> read_extent(const Store& store, const Extent& extent) {
  std::vector<std::byte> bytes(static_cast<size_t>(extent.length) + 64);
  const Status read = store.read(extent, bytes.data());
  EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
  return bytes;
}

inline std::vector<float> copy_of(const float* at, int count) { return {at, at + count}; }

inline reference::LayerBiases biases_of(const Store& store, int layer) {
  const LayerResidents& r = store.layer_residents(layer);
  const int d = store.shape().hidden, f = store.shape().ffn;
  return {.query = copy_of(r.query_bias, d),
          .key = copy_of(r.key_bias, d),
          .value = copy_of(r.value_bias, d),
          .attention = copy_of(r.attention_bias, d),
          .attention_norm_weight = copy_of(r.attention_norm_weight, d),
          .attention_norm_bias = copy_of(r.attention_norm_bias, d),
          .up = copy_of(r.ffn_up_bias, f),
          .down = copy_of(r.ffn_down_bias, d),
          .ffn_norm_weight = copy_of(r.ffn_norm_weight, d),
          .ffn_norm_bias = copy_of(r.ffn_norm_bias, d)};
}

// The rows of a request, then every layer of the plan, then its exit: with reference_ops only, reading extent by extent.
inline std::vector<float> reference_logits(const Store& store, const Plan& plan, const std::vector<int32_t>& ids) {
  const ModelShape& shape = store.shape();
  const int t = static_cast<int>(ids.size()), d = shape.hidden;
  std::vector<float> word, position, type;
  const auto append_row = [&](std::vector<float>& to, const RowLocation& row) {
    const std::vector<float> values = floats_at(read_extent(store, row.block).data() + row.offset, d, store.exact_type());
    to.insert(to.end(), values.begin(), values.end());
  };
  for (int i = 0; i < t; ++i) {
    append_row(word, store.word_row(ids[i]));
    append_row(position, store.position_row(i));
    type.insert(type.end(), store.token_type(0), store.token_type(0) + d);
  }
  std::vector<float> x(static_cast<size_t>(t) * d);
  reference::embed(shape, word, position, type, copy_of(store.embedding_norm_weight(), d),
                   copy_of(store.embedding_norm_bias(), d), t, x);
  for (int l = 0; l < plan.depth; ++l) {
    std::vector<reference::SliceWeights> weights(shape.slices);
    std::vector<reference::SlicePart> parts;
    for (int j = 0; j < shape.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      if (plan.bits_of(id) == kAbsent) continue;
      const Extent extent = store.shard(id, plan.bits_of(id));
      const auto bytes = read_extent(store, extent);
      DenseShard dense = decode_shard(shape, plan.bits_of(id), store.exact_type(), bytes.data(), extent.length).take();
      weights[j] = {dense[0], dense[1], dense[2], dense[3], dense[4], dense[5]};
      parts.push_back({j, &weights[j]});
    }
    std::vector<float> y(x.size());
    reference::layer(shape, x, t, parts, biases_of(store, l), y);
    x = y;
  }
  const auto head = read_extent(store, store.exit(plan.depth));
  const ExitRefs exit = store.exit_refs(head.data());
  const auto part = [&](const std::byte* at, int count) { return floats_at(at, count, exit.type); };
  std::vector<float> logits(shape.labels);
  reference::exit_head(shape, x, part(exit.pooler_weight, d * d), part(exit.pooler_bias, d),
                       part(exit.classifier_weight, shape.labels * d), part(exit.classifier_bias, shape.labels), logits);
  return logits;
}

inline void expect_logits(const std::vector<float>& got, const std::vector<float>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << "logit " << i;
}

}  // namespace tessera::testing
