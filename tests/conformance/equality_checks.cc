// Checks that bits are equal on one device whatever the partition, the order, the batch, the threads or the place of
// operands.
#include <algorithm>

#include "tests/conformance/contract_checks.h"
#include "tests/conformance/small_cases.h"

namespace tessera::conformance {
namespace {

using Partition = std::vector<std::vector<int>>;

// Every cut of the slices in two, each slice on its own, and a random share-out among three.
std::vector<Partition> partitions_of(const std::vector<int>& slices) {
  std::vector<Partition> all;
  for (size_t cut = 1; cut < slices.size(); ++cut)
    all.push_back({{slices.begin(), slices.begin() + cut}, {slices.begin() + cut, slices.end()}});
  all.emplace_back();
  for (const int j : slices) all.back().push_back({j});
  std::mt19937 random(static_cast<uint32_t>(slices.size()));
  Partition three(3);
  for (const int j : slices) three[random() % 3].push_back(j);
  std::erase_if(three, [](const auto& part) { return part.empty(); });
  all.push_back(three);
  return all;
}

// The refs of some slices, ascending.
std::vector<WeightRef> select(const std::vector<WeightRef>& all, const std::vector<int>& slices) {
  std::vector<WeightRef> some;
  for (const WeightRef& w : all)
    if (std::find(slices.begin(), slices.end(), w.slice) != slices.end()) some.push_back(w);
  return some;
}

// A layer in parts; `backwards`: the last part is computed first, and its partial comes first.
std::vector<float> split_layer(Runner& runner, const std::vector<WeightRef>& placed, Partition partition,
                               const std::vector<float>& x, int tokens, bool backwards) {
  if (backwards) std::reverse(partition.begin(), partition.end());
  const auto parts = [&](Op op, const std::vector<float>& in) {
    std::vector<std::vector<double>> partials;
    for (const auto& slices : partition)
      partials.push_back(runner.layer_op<double>(op, select(placed, slices), in, {0, tokens}));
    return partials;
  };
  const std::vector<float> y = runner.combine(parts(Op::kAttentionPart, x), x, false);
  return runner.combine(parts(Op::kFfnPart, y), y, true);
}

// One layer of each kind of weights, with some batch, embedded rows and an exit: all bits that a device makes.
std::vector<float> everything(const Subject& s, Finding& f) {
  std::vector<float> all;
  const auto append = [&](const std::vector<float>& more) { all.insert(all.end(), more.begin(), more.end()); };
  for (const RandomLayer& layer : layers())
    for (const Bits bits : {Bits{2}, Bits{6}, kExact})
      for (const int tokens : {1, 17, 70}) {
        Runner runner(s, f, layer);
        const Weights weights = testing::weights_of(layer, testing::all_slices(layer), bits, WeightForm::kCoded);
        if (!runner.supports(Op::kLayer, tokens, weights)) continue;
        append(runner.layer_op<float>(Op::kLayer, weights, layer.input(tokens), {0, tokens}));
      }
  const RandomLayer& layer = layers()[0];
  Runner runner(s, f, layer);
  CostKey key;
  key.op = Op::kEmbed, key.tokens = 33;
  if (s.backend->supports(s.device, key, layer.shape).yes) {
    const EmbedCase embed(layer, 33);
    Operands operands;
    operands.rows = &embed.refs;
    append(runner.small(Op::kEmbed, operands, {}, {0, 33}, embed.want.size()));
  }
  key.op = Op::kExit;
  if (s.backend->supports(s.device, key, layer.shape).yes) {
    const ExitCase exit(layer);
    Operands operands;
    operands.exit = &exit.refs;
    append(runner.small(Op::kExit, operands, exit.x, exit.starts, exit.want.size()));
  }
  return all;
}

}  // namespace

Finding split_equals_fused(const Subject& s) {
  constexpr int kTokens = 9;
  return for_all_weights(
      s, Op::kLayer, [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& all, const std::string& what) {
        const std::vector<float> x = layer.input(kTokens);
        const std::vector<WeightRef> placed = runner.place(all);
        const std::vector<float> fused = runner.layer_op<float>(Op::kLayer, placed, x, {0, kTokens});
        for (const Partition& partition : partitions_of(all.slices))
          expect_same_bits(f, split_layer(runner, placed, partition, x, kTokens, false), fused,
                           what + ", " + std::to_string(partition.size()) + " parts");
      });
}

Finding order_does_not_matter(const Subject& s) {
  Finding f;
  int ran = 0;
  for (const RandomLayer& layer : layers()) {
    Runner runner(s, f, layer);
    const Weights all = mixed_weights(layer, testing::all_slices(layer), {4, kExact, 1}, WeightForm::kCoded);
    if (!runner.supports(Op::kLayer, 33, all)) continue;
    const std::vector<float> x = layer.input(33);
    const std::vector<WeightRef> placed = runner.place(all);
    const std::vector<float> fused = runner.layer_op<float>(Op::kLayer, placed, x, {0, 33});
    for (const Partition& partition : partitions_of(all.slices))
      expect_same_bits(f, split_layer(runner, placed, partition, x, 33, true), fused, "last part first");
    ++ran;
  }
  if (ran == 0) f.skipped = s.description.name + " supports none of these layers";
  return f;
}

Finding batch_equals_singles(const Subject& s) {
  constexpr int kTokens = 9;
  return for_all_weights(
      s, Op::kLayer,
      [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights, const std::string& what) {
        const std::vector<int32_t> starts{0, kTokens, kTokens + 1, 2 * kTokens + 4};
        const std::vector<float> x = layer.input(starts.back());
        const std::vector<WeightRef> placed = runner.place(weights);
        const std::vector<float> together = runner.layer_op<float>(Op::kLayer, placed, x, starts);
        std::vector<float> singly;
        for (size_t b = 0; b + 1 < starts.size(); ++b) {
          const std::vector<float> one(x.begin() + starts[b] * layer.shape.hidden,
                                       x.begin() + starts[b + 1] * layer.shape.hidden);
          const auto y = runner.layer_op<float>(Op::kLayer, placed, one, {0, starts[b + 1] - starts[b]});
          singly.insert(singly.end(), y.begin(), y.end());
        }
        expect_same_bits(f, together, singly, what + ", batch of 3");
      });
}

Finding runs_are_repeatable(const Subject& s) {
  Finding f;
  const std::vector<float> first = everything(s, f);
  for (int again = 0; again < 2; ++again) expect_same_bits(f, everything(s, f), first, "the same tasks again");
  return f;
}

// One device of its backend's threads each time; another number of them must not show.
Finding threads_do_not_matter(const Subject& s) {
  Finding f;
  if (s.description.kind != DeviceKind::kCpu || !s.make) {
    f.skipped = "BackendOptions::threads are of CPU backends";
    return f;
  }
  const std::vector<float> first = everything(s, f);
  for (const int threads : {1, 2, 3, 7}) {
    Subject other = s;
    other.backend = s.make(BackendOptions{.threads = threads, .bandwidth_cap = {}});
    expect_same_bits(f, everything(other, f), first, std::to_string(threads) + " threads");
  }
  return f;
}

// Shards that came in another order lie elsewhere: behind each other in one buffer, backwards, or each in its own.
Finding places_do_not_matter(const Subject& s) {
  Finding f;
  int ran = 0;
  for (const RandomLayer& layer : layers()) {
    Runner runner(s, f, layer);
    const Weights weights = mixed_weights(layer, testing::all_slices(layer), {5, kExact, 3}, WeightForm::kCoded);
    if (!runner.supports(Op::kLayer, 21, weights)) continue;
    const std::vector<float> x = layer.input(21);
    const std::vector<float> apart = runner.layer_op<float>(Op::kLayer, weights, x, {0, 21});
    std::vector<WeightRef> together = weights.refs;
    std::vector<std::byte> bytes;
    std::vector<int64_t> at(together.size());
    for (size_t i = together.size(); i-- > 0;) {  // the last slice first
      at[i] = static_cast<int64_t>(bytes.size());
      const auto* from = weights.blocks[i].ref().as<std::byte>();
      bytes.insert(bytes.end(), from, from + weights.blocks[i].bytes());
      bytes.resize((bytes.size() + 64 + 63) / 64 * 64);
    }
    const MemoryRef one = runner.memory().put(bytes);
    for (size_t i = 0; i < together.size(); ++i) together[i].data = one.plus(at[i]);
    expect_same_bits(f, runner.layer_op<float>(Op::kLayer, together, x, {0, 21}), apart, "shards in one buffer");
    ++ran;
  }
  if (ran == 0) f.skipped = s.description.name + " supports none of these layers";
  return f;
}

}  // namespace tessera::conformance
