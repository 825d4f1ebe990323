// Sorts shards by profiled importance; integers only, ties broken by id.
#include "policies/parts/importance.h"

#include <algorithm>
#include <tuple>

namespace tessera {
namespace {

bool has_importance(const AccuracyModel& model, const ModelShape& shape) {
  const size_t shards = static_cast<size_t>(shape.layers) * shape.slices;
  return model.layers == shape.layers && model.slices == shape.slices && model.importance_accuracy.size() == shards &&
         model.importance_loss.size() == shards;
}

std::vector<ShardId> ranked(const AccuracyModel& model, Size size) {
  struct Ranked {
    int64_t minus_accuracy, loss;
    ShardId id;
    auto key() const { return std::tie(minus_accuracy, loss, id); }
  };
  std::vector<Ranked> shards;
  shards.reserve(static_cast<size_t>(size.depth) * size.width);
  for (int l = 0; l < size.depth; ++l)
    for (int j = 0; j < size.width; ++j) {
      const size_t at = static_cast<size_t>(l) * model.slices + j;
      shards.push_back({-model.importance_accuracy[at].n,
                        model.importance_loss[at].n,
                        {static_cast<int16_t>(l), static_cast<int16_t>(j)}});
    }
  std::sort(shards.begin(), shards.end(), [](const Ranked& a, const Ranked& b) { return a.key() < b.key(); });
  std::vector<ShardId> out;
  out.reserve(shards.size());
  for (const Ranked& shard : shards) out.push_back(shard.id);
  return out;
}

}  // namespace

std::vector<ShardId> by_importance(const PlanningView& view, Size size) {
  if (has_importance(view.accuracy, view.shape)) return ranked(view.accuracy, size);
  return in_random_order(view, size);
}

std::vector<ShardId> in_random_order(const PlanningView& view, Size size) {
  return ranked(random_importance(view.shape, view.seed), size);
}

}  // namespace tessera
