// Adds up profiled losses and maps them to accuracy, in integers only.
#include "framework/accuracy_model.h"

#include <algorithm>

#include "framework/random.h"

namespace tessera {
namespace {

__extension__ typedef __int128 Wide;

// a * b / c to the nearest, halves up; c > 0. Monotone in a.
int64_t scaled(int64_t a, int64_t b, int64_t c) {
  const Wide twice = 2 * (static_cast<Wide>(a) * b) + c;
  const Wide divisor = 2 * static_cast<Wide>(c);
  Wide quotient = twice / divisor;
  if (twice % divisor < 0) --quotient;  // towards minus infinity
  return static_cast<int64_t>(quotient);
}

// Quantisation noise falls by four with each bit; one bit is nearly as bad as absence.
Micro loss_at(int64_t importance, int level) {
  if (level == 0) return {importance};
  if (level == bits_level(kExact)) return {0};
  return {importance >> (2 * level - 1)};
}

}  // namespace

bool AccuracyModel::knows(int depth, const std::vector<Bits>& bits) const {
  if (!prefixes_only) return true;
  for (int l = 0; l < depth; ++l)
    for (size_t j = 1; j < static_cast<size_t>(slices); ++j) {
      const size_t i = static_cast<size_t>(l) * slices + j;
      if (bits[i] != kAbsent && bits[i - 1] == kAbsent) return false;
    }
  return true;
}

Micro AccuracyModel::loss(int depth, const std::vector<Bits>& bits) const {
  int64_t sum = 0;
  int64_t present = 0;
  for (int l = 0; l < depth; ++l) {
    for (int j = 0; j < slices; ++j) {
      const Bits b = bits[static_cast<size_t>(l) * slices + j];
      present += b != kAbsent;
      sum += loss_delta({static_cast<int16_t>(l), static_cast<int16_t>(j)}, b).n;
    }
  }
  const int64_t width = std::clamp<int64_t>((2 * present + depth) / (2 * depth), 1, slices);
  const int64_t ppm = scale_ppm[static_cast<size_t>(depth - 1) * slices + static_cast<size_t>(width - 1)];
  return base[depth - 1] + Micro{scaled(sum, ppm, 1'000'000)};
}

Micro AccuracyModel::accuracy(Micro loss) const {
  if (map.empty()) return {0};
  if (loss <= map.front().loss) return map.front().accuracy;
  if (loss >= map.back().loss) return map.back().accuracy;
  const auto above = std::upper_bound(map.begin(), map.end(), loss, [](Micro v, const Point& p) { return v < p.loss; });
  const Point& right = *above;
  const Point& left = *(above - 1);
  const int64_t fall = scaled(left.accuracy.n - right.accuracy.n, loss.n - left.loss.n, right.loss.n - left.loss.n);
  return left.accuracy - Micro{fall};
}

AccuracyModel random_importance(const ModelShape& shape, uint64_t seed) {
  AccuracyModel model;
  model.layers = shape.layers;
  model.slices = shape.slices;
  const size_t shards = static_cast<size_t>(shape.layers) * shape.slices;
  // Invented, but of the order of the embedded model's profile: a missing layer costs about 40,000 micro-nats, a missing
  // slice 1,000 to 9,000.
  for (int l = 0; l < shape.layers; ++l) model.base.push_back({40'000 * (shape.layers - 1 - l)});
  model.scale_ppm.assign(shards, 1'000'000);
  uint64_t state = seed;
  for (size_t i = 0; i < shards; ++i) {
    const auto importance = static_cast<int64_t>(1'000 + splitmix64(state) % 8'000);
    for (int level = 0; level < kBitsLevels; ++level) model.sensitivity.push_back(loss_at(importance, level));
    model.importance_accuracy.push_back({500'000 + importance});
    model.importance_loss.push_back({100'000 - importance});
  }
  return model;
}

}  // namespace tessera
