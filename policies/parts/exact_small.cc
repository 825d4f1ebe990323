// Counts through all assignments of bits to the slices of each layer.
#include "policies/parts/exact_small.h"

#include <algorithm>
#include <tuple>

namespace tessera {
namespace {

// Of one layer: [M] bits each. Nothing where they are more than `most`.
std::optional<std::vector<std::vector<Bits>>> assignments(const ModelShape& shape, const Choices& choices, bool prefixes,
                                                          size_t most) {
  std::vector<Bits> levels{kAbsent};
  levels.insert(levels.end(), choices.ladder.begin(), choices.ladder.end());
  double all = 1;
  for (int j = 0; j < shape.slices; ++j) all *= static_cast<double>(levels.size());
  if (all > static_cast<double>(most)) return std::nullopt;
  std::vector<std::vector<Bits>> out;
  for (size_t code = 0; code < static_cast<size_t>(all); ++code) {
    std::vector<Bits> bits;
    size_t rest = code;
    int present = 0;
    bool prefix = true;
    for (int j = 0; j < shape.slices; ++j, rest /= levels.size()) {
      bits.push_back(levels[rest % levels.size()]);
      if (bits.back() == kAbsent) continue;
      prefix = prefix && present == j;
      ++present;
    }
    const bool legal = std::find(choices.widths.begin(), choices.widths.end(), present) != choices.widths.end();
    if (legal && (prefix || !prefixes)) out.push_back(std::move(bits));
  }
  return out;
}

}  // namespace

std::optional<std::vector<SmallPlan>> all_plans(const ModelShape& shape, const AccuracyModel& accuracy,
                                                const Choices& choices, size_t most) {
  const auto layer = assignments(shape, choices, accuracy.prefixes_only, most);
  if (!layer) return std::nullopt;
  std::vector<SmallPlan> out;
  std::vector<std::vector<Bits>> stems{{}};
  for (int l = 0; l < choices.depths.back(); ++l) {
    if (stems.size() * layer->size() > most) return std::nullopt;
    std::vector<std::vector<Bits>> longer;
    for (const std::vector<Bits>& stem : stems)
      for (const std::vector<Bits>& bits : *layer) {
        longer.push_back(stem);
        longer.back().insert(longer.back().end(), bits.begin(), bits.end());
      }
    stems = std::move(longer);
    if (std::find(choices.depths.begin(), choices.depths.end(), l + 1) == choices.depths.end()) continue;
    for (const std::vector<Bits>& bits : stems) out.push_back({l + 1, accuracy.loss(l + 1, bits).n, bits});
  }
  std::sort(out.begin(), out.end(), [](const SmallPlan& a, const SmallPlan& b) {
    return std::tie(a.loss, a.depth, a.bits) < std::tie(b.loss, b.depth, b.bits);
  });
  return out;
}

}  // namespace tessera
