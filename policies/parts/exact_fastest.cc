// Finds the quickest choice of a depth, whatever it loses.
#include <algorithm>
#include <numeric>
#include <tuple>

#include "policies/parts/exact_search.h"

namespace tessera {

// Labels of times alone: losses and slices do not count.
std::optional<std::pair<int64_t, ExactSolution>> ExactSearch::fastest(int depth) {
  const Class any{{depth, 0, INT32_MAX, false, 0, 0}, {}, 0};
  const Pass pass{any, kUnbounded, kUnbounded, kUnbounded, 0, Room::kBounded, true};
  const Rest none{std::vector<int64_t>(static_cast<size_t>(depth) + 1, 0),
                  std::vector<int64_t>(static_cast<size_t>(depth) + 1, 0),
                  std::vector<int64_t>(static_cast<size_t>(depth) + 1, 0),
                  {},
                  {}};
  start(depth);
  for (int l = 0; l < depth; ++l) {
    const Labels& before = labels_[static_cast<size_t>(l)];
    Labels& next = next_;
    next.clear();
    const std::vector<uint32_t>& quick = quick_options(l);
    for (size_t p = 0; p < before.size(); ++p)
      for (const uint32_t i : quick) {
        auto label = extended(pass, none, before[p], l, model_.layers[static_cast<size_t>(l)].options()[i]);
        if (!label) continue;
        label->loss = 0;
        label->parent = static_cast<int32_t>(p);
        label->option = i;
        next.push_back(*label);
      }
    reduce(pass, l, next);
    if (next.empty()) return std::nullopt;
    labels_[static_cast<size_t>(l) + 1] = next;
  }
  const std::optional<int64_t>& head = model_.exit_load[static_cast<size_t>(depth)];
  const auto ends = [&](const Label& label) {
    return std::max(label.done, head ? label.storage + *head : label.done) + model_.exit;
  };
  Labels& last = labels_[static_cast<size_t>(depth)];
  const auto best =
      std::min_element(last.begin(), last.end(), [&](const Label& a, const Label& b) { return ends(a) < ends(b); });
  const int64_t time = ends(*best);
  last = {*best};
  return std::pair(time, traced(any.size));
}

// Of options, those that no other one is quicker than in every way.
const std::vector<uint32_t>& ExactSearch::quick_options(int layer) {
  quick_.resize(model_.layers.size());
  std::vector<uint32_t>& known = quick_[static_cast<size_t>(layer)];
  if (!known.empty()) return known;
  const std::vector<LayerOption>& all = model_.layers[static_cast<size_t>(layer)].options();
  std::vector<uint32_t> by(all.size());
  std::iota(by.begin(), by.end(), 0U);
  const auto quicker = [&](uint32_t a, uint32_t b) {
    const LayerOption &x = all[a], &y = all[b];
    return std::tie(x.compute, x.io, x.tail, x.bytes, x.held, a) < std::tie(y.compute, y.io, y.tail, y.bytes, y.held, b);
  };
  std::sort(by.begin(), by.end(), quicker);
  for (const uint32_t i : by) {
    const auto beats = [&](uint32_t other) {
      const LayerOption &x = all[other], &y = all[i];
      return x.compute <= y.compute && x.io <= y.io && x.tail <= y.tail && x.bytes <= y.bytes && x.held <= y.held;
    };
    if (std::none_of(known.begin(), known.end(), beats)) known.push_back(i);
  }
  return known;
}

}  // namespace tessera
