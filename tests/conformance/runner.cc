// Makes the layers of the suite and runs ops on them.
#include "tests/conformance/runner.h"

#include <algorithm>

namespace tessera::conformance {
namespace {

constexpr int64_t kGuard = 256;  // bytes on either side; a multiple of 64
constexpr uint8_t kUntouched = 0xA5;

}  // namespace

const std::vector<RandomLayer>& layers() {
  static const std::vector<RandomLayer> all = [] {
    std::vector<RandomLayer> made;
    made.emplace_back(4, 16, 32, ElementType::kF16, 1);
    made.emplace_back(3, 20, 24, ElementType::kF32, 2);
    made.emplace_back(5, 13, 7, ElementType::kBf16, 3);
    return made;
  }();
  return all;
}

std::vector<std::vector<int>> slice_sets(const RandomLayer& layer) {
  const int m = layer.shape.slices;
  std::mt19937 random(static_cast<uint32_t>(m));
  std::vector<int> some;
  while (some.empty())
    for (int j = 0; j < m; ++j)
      if (random() % 2 == 0) some.push_back(j);
  return {testing::all_slices(layer), {0}, {1, m - 1}, some};
}

Weights mixed_weights(const RandomLayer& layer, const std::vector<int>& slices, const std::vector<Bits>& bits,
                      WeightForm form) {
  Weights all;
  for (size_t i = 0; i < slices.size(); ++i) {
    Weights one = testing::weights_of(layer, {slices[i]}, bits[i % bits.size()], form);
    all.slices.push_back(slices[i]);
    all.plain.push_back(std::move(one.plain[0]));
    all.refs.push_back(one.refs[0]);
    all.blocks.push_back(std::move(one.blocks[0]));
  }
  return all;
}

std::string text(const RandomLayer& layer, Bits bits, int tokens, size_t slices, WeightForm form) {
  return std::to_string(layer.shape.hidden) + " hidden, " + std::to_string(static_cast<int>(bits)) + " bits, " +
         (tokens > 0 ? std::to_string(tokens) + " tokens, " : "") + std::to_string(slices) + " slices, " +
         (form == WeightForm::kCoded ? "coded" : "decoded");
}

CostKey Runner::key(Op op, const std::vector<int32_t>& starts, const std::vector<WeightRef>& weights) {
  CostKey k;
  k.op = op;
  k.batch = static_cast<uint16_t>(starts.size() - 1);
  for (size_t s = 0; s + 1 < starts.size(); ++s)
    k.tokens = std::max(k.tokens, static_cast<uint16_t>(starts[s + 1] - starts[s]));
  k.slices = static_cast<uint8_t>(weights.size());
  k.decoded = !weights.empty() && weights[0].form == WeightForm::kDecoded;
  for (const WeightRef& w : weights) ++k.bits[bits_level(w.bits)];
  return k;
}

MemoryRef Runner::room(int64_t bytes) {
  if (!guarded_) return memory_.empty(bytes);
  const MemoryRef whole = memory_.put(std::vector<uint8_t>(static_cast<size_t>(bytes + 2 * kGuard), kUntouched));
  return whole ? whole.plus(kGuard) : whole;
}

void Runner::check_guards(MemoryRef at, int64_t bytes, const char* what) {
  const auto whole = memory_.get<uint8_t>(at.plus(-kGuard), static_cast<size_t>(bytes + 2 * kGuard));
  const auto touched = [](uint8_t byte) { return byte != kUntouched; };
  const bool before = std::any_of(whole.begin(), whole.begin() + kGuard, touched);
  const bool behind = std::any_of(whole.end() - kGuard, whole.end(), touched);
  f_.expect(!before && !behind, std::string(what) + " of " + std::to_string(bytes) + " bytes: written " +
                                    (before ? "before its start" : "behind its end"));
}

bool Runner::run_task(const CostKey& k, Operands& operands, const std::vector<int32_t>& starts) {
  Task task;
  task.layer = 0;
  task.cost = k;
  operands.shape = &layer_.shape;
  operands.batch.starts = starts;
  operands.residents = &residents_;
  if (guarded_) {
    operands.workspace_bytes = s_.backend->estimate(s_.device, k, layer_.shape).workspace.n;
    operands.workspace = room(operands.workspace_bytes);
  }
  f_.expect(memory_.status(), "operands");
  if (!memory_.status().ok()) return false;
  const Status done = perform(s_, task, operands);
  f_.expect(done, "op " + std::to_string(static_cast<int>(k.op)));
  if (guarded_) check_guards(operands.workspace, operands.workspace_bytes, "workspace");
  return done.ok();
}

std::vector<float> Runner::combine(const std::vector<std::vector<double>>& partials, const std::vector<float>& residual,
                                   bool ffn) {
  std::vector<MemoryRef> refs;
  for (const auto& partial : partials) refs.push_back(memory_.put(partial));
  Operands operands;
  operands.partials = refs;
  const std::vector<int32_t> starts{0, static_cast<int32_t>(residual.size()) / layer_.shape.hidden};
  CostKey k = key(Op::kCombine, starts, {});
  k.slices = ffn ? 1 : 0;
  return run<float>(k, operands, residual, starts, residual.size());
}

}  // namespace tessera::conformance
