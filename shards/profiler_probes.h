// Lists what a profile has to measure.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "framework/model_shape.h"

namespace tessera {

enum class Part : uint8_t { kDivergence, kEvenRows, kOddRows };
inline constexpr int kParts = 3;

// Where shard (l, j) lies in [L][M].
constexpr size_t shard_at(int slices, int l, int j) {
  return static_cast<size_t>(l) * static_cast<size_t>(slices) + static_cast<size_t>(j);
}

// One measurement. bits[l * M + j] for l < depth.
struct Probe {
  Part part = Part::kDivergence;
  int depth = 0;
  std::vector<Bits> bits;
  bool done = false;
  double value = 0;  // divergence part: mean KL, nats; labelled rows: accuracy in [0, 1]
};

// A plan that is measured on two parts. Indices into ProbeList::probes.
struct PlanProbes {
  int depth = 0;
  std::vector<Bits> bits;
  size_t loss = 0, accuracy = 0;
};

struct UniformProbes {
  Bits bits = kExact;
  int depth = 0, width = 0;
  size_t loss = 0, even = 0, odd = 0;
  bool on_odd = false;
};

struct ProbeList {
  std::vector<Probe> probes;                   // no two are the same
  std::vector<size_t> base;                    // [L]; of illegal depths, the next legal one's
  std::vector<std::vector<size_t>> precision;  // [L * M][bitwidths]: one shard coded, the others exact
  std::vector<std::vector<size_t>> narrowing;  // [L][legal widths]: one layer cut to its first m slices
  std::vector<size_t> importance_loss;         // [L * M]: one shard exact, the others at the lowest bits of 2 or more
  std::vector<size_t> importance_accuracy;     // [L * M], even rows
  std::vector<UniformProbes> uniform;
  std::vector<PlanProbes> fit, check;  // random plans; accuracy on even, on odd rows

  size_t add(Part part, int depth, const std::vector<Bits>& bits);
  // Indices of what is not done on one part, neighbours sharing as many first layers as possible.
  std::vector<size_t> order(Part part) const;

 private:
  std::map<std::tuple<Part, int, std::vector<Bits>>, size_t> index_;
};

// The lowest bitwidth of 2 or more that a store has.
Bits probe_bits(const ModelShape& shape);
// Bits of the first `width` slices of each layer.
std::vector<Bits> uniform_bits(const ModelShape& shape, int depth, int width, Bits bits);
int present_slices(const std::vector<Bits>& bits);
// Mean slices of a layer, rounded half up: how AccuracyModel::scale_ppm is indexed.
int mean_width(int depth, const std::vector<Bits>& bits);

struct ProbeCounts {
  int fit_plans = 0, check_plans = 0;
  uint64_t seed = 0;
};
ProbeList list_probes(const ModelShape& shape, const ProbeCounts& counts);

}  // namespace tessera
