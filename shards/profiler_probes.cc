// Lists probes: the grid, one-shard changes, STI's importance, random plans.
#include "shards/profiler_probes.h"

#include <algorithm>

#include "framework/random.h"

namespace tessera {
namespace {

// The same plans on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() { return splitmix64(state_); }
  size_t below(size_t n) { return next() % n; }
  template <typename T>
  T pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }

 private:
  uint64_t state_;
};

void list_base(const ModelShape& shape, ProbeList* list) {
  for (int depth = 1; depth <= shape.layers; ++depth) {
    const auto legal = std::lower_bound(shape.depths.begin(), shape.depths.end(), depth);
    const int measured = legal == shape.depths.end() ? shape.layers : *legal;
    list->base.push_back(list->add(Part::kDivergence, measured, uniform_bits(shape, measured, shape.slices, kExact)));
  }
}

void list_one_shard_changes(const ModelShape& shape, ProbeList* list) {
  const std::vector<Bits> exact = uniform_bits(shape, shape.layers, shape.slices, kExact);
  const std::vector<Bits> low = uniform_bits(shape, shape.layers, shape.slices, probe_bits(shape));
  for (size_t shard = 0; shard < exact.size(); ++shard) {
    std::vector<size_t>& levels = list->precision.emplace_back();
    for (const Bits b : shape.bitwidths) {
      std::vector<Bits> bits = exact;
      bits[shard] = b;
      levels.push_back(list->add(Part::kDivergence, shape.layers, bits));
    }
    std::vector<Bits> bits = low;
    bits[shard] = kExact;
    list->importance_loss.push_back(list->add(Part::kDivergence, shape.layers, bits));
    list->importance_accuracy.push_back(list->add(Part::kEvenRows, shape.layers, bits));
  }
  for (int l = 0; l < shape.layers; ++l) {
    std::vector<size_t>& widths = list->narrowing.emplace_back();
    for (const int m : shape.widths) {
      std::vector<Bits> bits = exact;
      std::fill_n(bits.begin() + l * shape.slices + m, shape.slices - m, kAbsent);
      widths.push_back(list->add(Part::kDivergence, shape.layers, bits));
    }
  }
}

void list_uniform(const ModelShape& shape, ProbeList* list) {
  for (const Bits b : shape.bitwidths) {
    for (size_t w = 0; w < shape.widths.size(); ++w) {
      // Exact: all widths. Coded: every third, and the full one.
      const size_t from_top = shape.widths.size() - 1 - w;
      if (b != kExact && from_top % 3 != 0) continue;
      for (const int depth : shape.depths) {
        const std::vector<Bits> bits = uniform_bits(shape, depth, shape.widths[w], b);
        UniformProbes& u = list->uniform.emplace_back(UniformProbes{b, depth, shape.widths[w]});
        u.loss = list->add(Part::kDivergence, depth, bits);
        u.even = list->add(Part::kEvenRows, depth, bits);
        u.on_odd = depth == shape.layers && from_top == 0;
        if (u.on_odd) u.odd = list->add(Part::kOddRows, depth, bits);
      }
    }
  }
}

// Plans as policies make them: a depth, a width, two bitwidths mixed in any proportion; one in four with any bits anywhere
// and a width of its own in each layer.
std::vector<Bits> random_bits(const ModelShape& shape, int depth, Random& random) {
  std::vector<Bits> bits(static_cast<size_t>(depth * shape.slices), kAbsent);
  const bool wild = random.below(4) == 0;
  const int width = random.pick(shape.widths);
  const Bits low = random.pick(shape.bitwidths), high = random.pick(shape.bitwidths);
  const size_t share = random.below(101);
  for (int l = 0; l < depth; ++l) {
    const int m = wild ? random.pick(shape.widths) : width;
    for (int j = 0; j < m; ++j) {
      const Bits mixed = random.below(100) < share ? high : low;
      bits[shard_at(shape.slices, l, j)] = wild ? random.pick(shape.bitwidths) : mixed;
    }
  }
  return bits;
}

}  // namespace

size_t ProbeList::add(Part part, int depth, const std::vector<Bits>& bits) {
  const auto [at, fresh] = index_.try_emplace({part, depth, bits}, probes.size());
  if (fresh) probes.push_back({part, depth, bits, false, 0});
  return at->second;
}

std::vector<size_t> ProbeList::order(Part part) const {
  std::vector<size_t> out;
  for (size_t i = 0; i < probes.size(); ++i)
    if (probes[i].part == part && !probes[i].done) out.push_back(i);
  // Ascending by bits: a walk over the tree of first layers, each node computed once.
  std::sort(out.begin(), out.end(), [this](size_t a, size_t b) { return probes[a].bits < probes[b].bits; });
  return out;
}

Bits probe_bits(const ModelShape& shape) {
  const auto at = std::lower_bound(shape.bitwidths.begin(), shape.bitwidths.end(), Bits{2});
  return at == shape.bitwidths.end() ? shape.bitwidths.back() : *at;
}

std::vector<Bits> uniform_bits(const ModelShape& shape, int depth, int width, Bits bits) {
  std::vector<Bits> out(static_cast<size_t>(depth * shape.slices), kAbsent);
  for (int l = 0; l < depth; ++l) std::fill_n(out.begin() + l * shape.slices, width, bits);
  return out;
}

int present_slices(const std::vector<Bits>& bits) {
  return static_cast<int>(bits.size() - static_cast<size_t>(std::count(bits.begin(), bits.end(), kAbsent)));
}

int mean_width(int depth, const std::vector<Bits>& bits) { return (2 * present_slices(bits) + depth) / (2 * depth); }

ProbeList list_probes(const ModelShape& shape, const ProbeCounts& counts) {
  ProbeList list;
  list_base(shape, &list);
  list_one_shard_changes(shape, &list);
  list_uniform(shape, &list);
  Random random(counts.seed);
  for (const auto& [plans, count, part] : {std::tuple{&list.fit, counts.fit_plans, Part::kEvenRows},
                                           std::tuple{&list.check, counts.check_plans, Part::kOddRows}}) {
    for (int i = 0; i < count; ++i) {
      const int depth = random.pick(shape.depths);
      const std::vector<Bits> bits = random_bits(shape, depth, random);
      plans->push_back({depth, bits, list.add(Part::kDivergence, depth, bits), list.add(part, depth, bits)});
    }
  }
  return list;
}

}  // namespace tessera
