// Enumerates ways layer by layer and exchanges them by loss for each ns of lateness.
#include "policies/parts/replan_paths.h"

#include <algorithm>
#include <bit>
#include <map>

namespace tessera {
namespace {

constexpr double kOne = 1e6;  // of a pace

bool may_be_absent(const PlanningView& view, const Plan& plan, ShardId id) {
  if (view.width || view.shape.widths.empty()) return false;
  const int least = view.shape.widths.front();
  return view.accuracy.prefixes_only ? id.slice >= least : slice_count(plan.slice_set(id.layer)) > least;
}

}  // namespace

bool worse_than_absent(const PlanningView& view, const Plan& plan, ShardId id, Bits bits) {
  return may_be_absent(view, plan, id) && view.accuracy.loss_delta(id, bits) > view.accuracy.loss_delta(id, kAbsent);
}

RestPaths::RestPaths(const PlanEditor& editor, Duration now, const std::vector<bool>& ended, const Pace& pace,
                     int64_t worst_loads)
    : editor_(editor),
      view_(editor.view()),
      plan_(editor.plan()),
      load_pace_(static_cast<double>(pace.loads) / kOne),
      compute_pace_(static_cast<double>(pace.computes) / kOne),
      worst_pace_(static_cast<double>(std::max(worst_loads, pace.loads)) / kOne),
      layers_(plan_.depth) {
  collect(now, ended);
  for (int l = 0; l < plan_.depth; ++l) add_quickest(l);
}

// Computes in layers that have not begun, loads that can still be changed, and when the lanes are free of what has begun.
void RestPaths::collect(Duration now, std::vector<bool> begun) {
  const TaskGraph& graph = editor_.graph();
  begun.resize(graph.size());
  io_free_ = compute_free_ = static_cast<double>(now.ns);
  for (const RunningTask& running : editor_.running()) {
    const Task& task = graph.task(running.task);
    begun[task.id] = true;
    const bool compute = task.kind == TaskKind::kCompute;
    const double takes = static_cast<double>(task.estimate.at(plan_.quantile).ns) * (compute ? compute_pace_ : load_pace_);
    double& free = compute ? compute_free_ : io_free_;
    free = std::max(free, static_cast<double>(running.started.ns) + takes);
  }
  for (const Task& task : graph.tasks())
    if (!begun[task.id] && task.kind == TaskKind::kCompute && task.layer >= 0 && task.layer < plan_.depth &&
        task.cost.op != Op::kEmbed && task.cost.op != Op::kExit)
      layers_[task.layer].computes.push_back(&task);
  const std::vector<PendingLoad> pending = editor_.pending();
  next_ = pending.empty() ? 0 : pending.front().layer;
  for (const PendingLoad& load : pending) {
    layers_[load.layer].loose |= load.slices;
    layers_[load.layer].loads.push_back(&graph.task(load.task));
  }
}

// The highest bits up to `to`, or, where they lose more than the shard's absence, the least above that do not.
Bits RestPaths::lowered(ShardId id, Bits to) const {
  const Bits now = plan_.bits_of(id);
  if (to >= now) return now;
  for (const Bits bits : view_.shape.bitwidths)
    if (bits >= to && bits < now && !worse_than_absent(view_, plan_, id, bits)) return bits;
  return now;
}

// The layer's slices in the order in which they would be left out: the last first, or, where any set is known, the least
// loss.
std::vector<int> RestPaths::droppable(int layer) const {
  std::vector<int> out;
  const SliceMask present = plan_.slice_set(layer);
  for (int j = plan_.slices - 1; j >= 0; --j) {
    if ((present >> j & 1) == 0) continue;
    if ((layers_[layer].loose >> j & 1) != 0)
      out.push_back(j);
    else if (view_.accuracy.prefixes_only)
      break;
  }
  if (view_.accuracy.prefixes_only) return out;
  std::stable_sort(out.begin(), out.end(), [&](int a, int b) {
    const auto cost = [&](int j) {
      const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(j)};
      return view_.accuracy.loss_delta(id, kAbsent) - view_.accuracy.loss_delta(id, plan_.bits_of(id));
    };
    return cost(a) < cost(b);
  });
  return out;
}

// The layer as it stands, and what its quickest way would take: the narrowest, at some bits.
void RestPaths::add_quickest(int layer) {
  Layer& at = layers_[layer];
  const auto row_at = plan_.bits.begin() + static_cast<ptrdiff_t>(layer) * plan_.slices;
  at.ways.push_back(way_of(layer, {row_at, row_at + plan_.slices}));
  if (at.loose != 0) {
    const int present = slice_count(plan_.slice_set(layer));
    int most = std::min(static_cast<int>(droppable(layer).size()), present - 1);
    while (most > 0 && (view_.width || !view_.shape.legal_width(present - most))) --most;
    add_ways(layer, most, most);
  }
  const auto quickest = std::min_element(at.ways.begin(), at.ways.end(),
                                         [](const Way& a, const Way& b) { return a.io + a.compute < b.io + b.compute; });
  at.quickest_io = quickest->io, at.quickest_compute = quickest->compute;
  at.ways.resize(1);
}

void RestPaths::add_ways() {
  if (complete_) return;
  complete_ = true;
  for (int l = 0; l < plan_.depth; ++l)
    if (layers_[l].loose != 0) add_ways(l, 0, slice_count(plan_.slice_set(l)) - 1);
}

void RestPaths::add_ways(int layer, int from_dropped, int to_dropped) {
  Layer& at = layers_[layer];
  const std::vector<Bits> now = at.ways.front().row;
  const std::vector<int> order = droppable(layer);
  const int present = slice_count(plan_.slice_set(layer));
  for (int drop = from_dropped; drop <= std::min(static_cast<int>(order.size()), to_dropped); ++drop) {
    if (drop > 0 && (view_.width || !view_.shape.legal_width(present - drop))) continue;
    std::vector<Bits> row = now;
    for (int i = 0; i < drop; ++i) row[order[i]] = kAbsent;
    if (drop > 0) at.ways.push_back(way_of(layer, row));
    if (view_.bits) continue;
    for (const Bits to : view_.shape.bitwidths) {
      std::vector<Bits> lower = row;
      for (int j = 0; j < plan_.slices; ++j)
        if ((at.loose >> j & 1) != 0 && row[j] != kAbsent)
          lower[j] = lowered({static_cast<int16_t>(layer), static_cast<int16_t>(j)}, to);
      if (lower != row) at.ways.push_back(way_of(layer, std::move(lower)));
    }
  }
}

RestPaths::Way RestPaths::way_of(int layer, std::vector<Bits> row) const {
  const Layer& at = layers_[layer];
  Way way;
  for (int j = 0; j < plan_.slices; ++j) {
    const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(j)};
    way.loss += view_.accuracy.loss_delta(id, row[j]).n;
    way.drops = way.drops || (row[j] != plan_.bits_of(id) && row[j] == kAbsent);
  }
  const auto takes = [&](const CostKey& key) {
    return static_cast<double>(view_.costs.estimate(key).at(plan_.quantile).ns);
  };
  const auto refit = [&](CostKey key, SliceMask slices) {
    key.slices = 0, key.bytes = 0, key.bits = {};
    for (SliceMask rest = slices; rest != 0; rest &= rest - 1) {
      const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(std::countr_zero(rest))};
      if (row[id.slice] == kAbsent) continue;
      ++key.slices, ++key.bits[bits_level(row[id.slice])];
      key.bytes += view_.shape.bytes_of(id, row[id.slice]).n;
    }
    return key;
  };
  for (const Task* load : at.loads) {
    CostKey key = refit(load->cost, load->slice_set);
    key.reads = key.slices;
    if (key.slices > 0) way.io += load_pace_ * takes(key);
  }
  std::map<DeviceId, double> lanes;  // parts of a layer run beside each other
  for (const Task* task : at.computes) {
    CostKey key = task->cost.op == Op::kCombine ? task->cost : refit(task->cost, task->slice_set);
    key.bytes = task->cost.bytes;
    lanes[key.device] += compute_pace_ * takes(key);
  }
  for (const auto& [device, time] : lanes) way.compute = std::max(way.compute, time);
  way.row = std::move(row);
  return way;
}

// Lateness of all paths together, if `changed` went `way`.
double RestPaths::over(double target, bool guarded, int changed, const Way& way) const {
  const int depth = static_cast<int>(layers_.size());
  double computes = 0, quick = 0;
  const auto of = [&](int l) -> const Way& { return l == changed ? way : layers_[l].ways[layers_[l].chosen]; };
  for (int l = 0; l < depth; ++l) {
    computes += of(l).compute;
    quick += l == next_ ? of(l).compute : layers_[l].quickest_compute;
  }
  double late = std::max(0.0, compute_free_ + computes - target);
  double io = io_free_, quick_io = io_free_;
  for (int l = 0; l < depth; ++l) {
    io += of(l).io;
    quick_io += l == next_ ? of(l).io * worst_pace_ / load_pace_ : layers_[l].quickest_io;
    if (layers_[l].loose != 0) {
      late += std::max(0.0, io + computes - target);
      if (guarded) late += std::max(0.0, quick_io + quick - target);
    }
    computes -= of(l).compute;
    quick -= l == next_ ? of(l).compute : layers_[l].quickest_compute;
  }
  return late;
}

double RestPaths::latest() const {
  double computes = 0;
  for (const Layer& layer : layers_) computes += layer.ways[layer.chosen].compute;
  double latest = compute_free_ + computes, io = io_free_;
  for (const Layer& layer : layers_) {
    io += layer.ways[layer.chosen].io;
    if (layer.loose != 0) latest = std::max(latest, io + computes);
    computes -= layer.ways[layer.chosen].compute;
  }
  return latest;
}

bool RestPaths::improve(double target, bool guarded, bool drops) {
  const double late = over(target, guarded, -1, {});
  double best_price = 0, best_gain = 0;
  int best_layer = -1;
  size_t best_way = 0;
  for (int l = 0; l < static_cast<int>(layers_.size()); ++l)
    for (size_t w = 0; w < layers_[l].ways.size(); ++w) {
      const Way& way = layers_[l].ways[w];
      if (w == layers_[l].chosen || (way.drops && !drops)) continue;
      const double gain = late - over(target, guarded, l, way);
      if (gain < 1) continue;  // ns
      const auto loss = static_cast<double>(way.loss - layers_[l].ways[layers_[l].chosen].loss);
      const double price = std::max(0.0, loss) / gain;
      if (best_layer >= 0 && (price > best_price || (price == best_price && gain <= best_gain))) continue;
      best_price = price, best_gain = gain, best_layer = l, best_way = w;
    }
  if (best_layer >= 0) layers_[best_layer].chosen = best_way;
  return best_layer >= 0;
}

// Where the quickest ways of all would not survive the worst, its guard would only waste accuracy.
bool RestPaths::can_survive(double target) const {
  Way quick;
  quick.io = layers_[next_].quickest_io, quick.compute = layers_[next_].quickest_compute;
  return over(target, true, next_, quick) <= over(target, false, next_, quick);
}

bool RestPaths::survives(const std::vector<ShardEdit>& edits, double target) const {
  if (!can_survive(target)) return true;
  std::vector<Bits> row = layers_[next_].ways.front().row;
  for (const ShardEdit& edit : edits)
    if (edit.shard.layer == next_) row[edit.shard.slice] = edit.bits;
  const Way way = way_of(next_, std::move(row));
  return over(target, true, next_, way) <= over(target, false, next_, way);
}

bool RestPaths::meet(double target, bool drops) {
  for (Layer& layer : layers_) layer.chosen = 0;
  const bool guarded = can_survive(target);
  while (over(target, guarded, -1, {}) > 0) {
    add_ways();
    if (!improve(target, guarded, drops)) return false;
  }
  return true;
}

std::vector<ShardEdit> RestPaths::edits_of(int layer) const {
  std::vector<ShardEdit> out;
  const Way& way = layers_[layer].ways[layers_[layer].chosen];
  for (int j = 0; j < plan_.slices; ++j) {
    const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(j)};
    if (way.row[j] != plan_.bits_of(id)) out.push_back({id, way.row[j]});
  }
  return out;
}

std::vector<ShardEdit> RestPaths::edits() const {
  std::vector<ShardEdit> out;
  for (int l = 0; l < static_cast<int>(layers_.size()); ++l)
    for (const ShardEdit& edit : edits_of(l)) out.push_back(edit);
  return out;
}

}  // namespace tessera
