// Runs single ops on one device, on random layers, and compares what they wrote.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "tests/backends/cpu_rig.h"
#include "tests/conformance/work.h"

namespace tessera::conformance {

using testing::RandomLayer;
using testing::Weights;

// Panels of 16 exactly; with a remainder in every matrix (head width 20, share 24: not multiples of 16); odd everywhere.
// One for each exact type.
const std::vector<RandomLayer>& layers();
// All slices, one, two apart, and a random set.
std::vector<std::vector<int>> slice_sets(const RandomLayer& layer);
// Some slices at one bitwidth each.
Weights mixed_weights(const RandomLayer& layer, const std::vector<int>& slices, const std::vector<Bits>& bits,
                      WeightForm form);
std::string text(const RandomLayer& layer, Bits bits, int tokens, size_t slices, WeightForm form);

template <typename T, typename U>
void expect_close(Finding& f, const std::vector<T>& got, const std::vector<U>& want, double tolerance,
                  const std::string& what) {
  double scale = 0, worst = 0;
  size_t at = 0;
  for (const U w : want) scale = std::max(scale, std::fabs(static_cast<double>(w)));
  for (size_t i = 0; i < want.size() && i < got.size(); ++i) {
    const double off = std::fabs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(off <= worst)) worst = off, at = i;
  }
  f.expect(got.size() == want.size() && worst <= tolerance * scale, what + ": off by " + std::to_string(worst) + " of " +
                                                                        std::to_string(scale) + " at " + std::to_string(at) +
                                                                        ", tolerance " + std::to_string(tolerance * scale));
}

template <typename T>
void expect_same_bits(Finding& f, const std::vector<T>& a, const std::vector<T>& b, const std::string& what) {
  size_t at = 0;
  while (at < a.size() && at < b.size() && std::memcmp(&a[at], &b[at], sizeof(T)) == 0) ++at;
  f.expect(a.size() == b.size() && at == a.size(), what + ": differs first at " + std::to_string(at) + " of " +
                                                       std::to_string(a.size()) + " and " + std::to_string(b.size()));
}

// One device, one layer. Failures go to the finding.
class Runner {
 public:
  Runner(const Subject& s, Finding& f, const RandomLayer& layer)
      : s_(s), f_(f), layer_(layer), residents_(layer.residents()), memory_(s) {}

  // From now on outputs and workspaces lie between guards, which must stay as they are; so must inputs and weights.
  Runner& guarded() {
    guarded_ = true;
    return *this;
  }
  LayerResidents& residents() { return residents_; }
  bool supports(Op op, int tokens, const Weights& weights) const {
    return s_.backend->supports(s_.device, key(op, {0, tokens}, weights.refs), layer_.shape).yes;
  }

  // Weights in memory of the device, to be used by several ops.
  std::vector<WeightRef> place(const Weights& weights) {
    std::vector<WeightRef> refs = weights.refs;
    for (size_t i = 0; i < refs.size(); ++i)
      refs[i].data = memory_.put(weights.blocks[i].ref().as<std::byte>(), weights.blocks[i].bytes());
    return refs;
  }
  // T = double for parts, float for layers.
  template <typename T>
  std::vector<T> layer_op(Op op, const Weights& weights, const std::vector<float>& x, const std::vector<int32_t>& starts) {
    return layer_op<T>(op, place(weights), x, starts);
  }
  template <typename T>
  std::vector<T> layer_op(Op op, const std::vector<WeightRef>& placed, const std::vector<float>& x,
                          const std::vector<int32_t>& starts) {
    Operands operands;
    operands.weights = placed;
    return run<T>(key(op, starts, placed), operands, x, starts, x.size());
  }
  std::vector<float> combine(const std::vector<std::vector<double>>& partials, const std::vector<float>& residual, bool ffn);
  // embed (without an input) and exit.
  std::vector<float> small(Op op, Operands operands, const std::vector<float>& x, const std::vector<int32_t>& starts,
                           size_t outputs) {
    return run<float>(key(op, starts, {}), operands, x, starts, outputs);
  }
  DeviceMemory& memory() { return memory_; }

 private:
  static CostKey key(Op op, const std::vector<int32_t>& starts, const std::vector<WeightRef>& weights);
  // An operand of `bytes` between guards, or without.
  MemoryRef room(int64_t bytes);
  void check_guards(MemoryRef at, int64_t bytes, const char* what);
  bool run_task(const CostKey& k, Operands& operands, const std::vector<int32_t>& starts);

  template <typename T>
  std::vector<T> run(const CostKey& k, Operands operands, const std::vector<float>& x, const std::vector<int32_t>& starts,
                     size_t outputs) {
    if (!x.empty()) operands.input = memory_.put(x);
    const auto bytes = static_cast<int64_t>(outputs * sizeof(T));
    operands.output = room(bytes);
    if (!run_task(k, operands, starts)) return {};
    if (guarded_) {
      check_guards(operands.output, bytes, "output");
      f_.expect(x.empty() || memory_.get<float>(operands.input, x.size()) == x, "the input has changed");
    }
    return memory_.get<T>(operands.output, outputs);
  }

  const Subject& s_;
  Finding& f_;
  const RandomLayer& layer_;
  LayerResidents residents_;
  DeviceMemory memory_;
  bool guarded_ = false;
};

// Visits every layer, bitwidth, form and slice set that the device supports for `op`. A device that supports none is
// skipped.
template <typename Visit>
Finding for_all_weights(const Subject& s, Op op, Visit visit) {
  Finding f;
  int visited = 0;
  for (const RandomLayer& layer : layers())
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, static_cast<int>(kExact)})
      for (const WeightForm form : {WeightForm::kCoded, WeightForm::kDecoded})
        for (const std::vector<int>& slices : slice_sets(layer)) {
          if (f.failures.size() >= Finding::kMost) return f;
          Runner runner(s, f, layer);
          const Weights weights = testing::weights_of(layer, slices, static_cast<Bits>(bits), form);
          if (!runner.supports(op, 33, weights)) continue;
          visit(f, runner, layer, weights, text(layer, static_cast<Bits>(bits), 0, slices.size(), form));
          ++visited;
        }
  if (visited == 0) f.skipped = s.description.name + " supports this op for no bitwidth";
  return f;
}

}  // namespace tessera::conformance
