// Enumerates ways layer by layer and exchanges them by loss for each ns of lateness.
#include "policies/parts/replan_paths.h"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

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
                     int64_t worst_loads, WayBook& book)
    : editor_(editor),
      view_(editor.view()),
      plan_(editor.plan()),
      load_pace_(static_cast<double>(pace.loads) / kOne),
      compute_pace_(static_cast<double>(pace.computes) / kOne),
      worst_pace_(static_cast<double>(std::max(worst_loads, pace.loads)) / kOne),
      layers_(plan_.depth) {
  collect(now, ended);
  book.resize(layers_.size());
  for (int l = 0; l < plan_.depth; ++l) {
    layers_[l].page = &book[l];
    open_page(l);
  }
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
void RestPaths::open_page(int layer) {
  Layer& at = layers_[layer];
  WayPage now;
  now.loose = at.loose;
  for (const Task* load : at.loads) now.loads.push_back(load->id);
  for (const Task* task : at.computes) now.computes.push_back(task->id);
  const auto row_at = plan_.bits.begin() + static_cast<ptrdiff_t>(layer) * plan_.slices;
  now.row.assign(row_at, row_at + plan_.slices);
  WayPage& page = *at.page;
  if (page.ways.empty() || page.loose != now.loose || page.loads != now.loads || page.computes != now.computes ||
      page.row != now.row) {
    page = std::move(now);
    page.ways.push_back(way_of(layer, page.row));
    if (at.loose != 0) {
      const int present = slice_count(plan_.slice_set(layer));
      int most = std::min(static_cast<int>(droppable(layer).size()), present - 1);
      while (most > 0 && (view_.width || !view_.shape.legal_width(present - most))) --most;
      add_ways(layer, most, most);
    }
    for (const LayerWay& way : page.ways) page.quick.emplace_back(way.io, way.compute);
    page.ways.resize(1);
  }
  double least = 0;
  for (const auto& [io, compute] : page.quick) {
    const double both = load_pace_ * io + compute_pace_ * compute;
    if (&io != &page.quick.front().first && both >= least) continue;
    least = both;
    at.quickest_io = load_pace_ * io, at.quickest_compute = compute_pace_ * compute;
  }
}

void RestPaths::add_ways() {
  for (int l = 0; l < plan_.depth; ++l) {
    if (layers_[l].loose == 0 || std::exchange(layers_[l].page->complete, true)) continue;
    add_ways(l, 0, slice_count(plan_.slice_set(l)) - 1);
  }
}

void RestPaths::add_ways(int layer, int from_dropped, int to_dropped) {
  const SliceMask loose = layers_[layer].loose;
  std::vector<LayerWay>& ways = layers_[layer].page->ways;
  const std::vector<Bits> now = ways.front().row;
  const std::vector<int> order = droppable(layer);
  const int present = slice_count(plan_.slice_set(layer));
  for (int drop = from_dropped; drop <= std::min(static_cast<int>(order.size()), to_dropped); ++drop) {
    if (drop > 0 && (view_.width || !view_.shape.legal_width(present - drop))) continue;
    std::vector<Bits> row = now;
    for (int i = 0; i < drop; ++i) row[order[i]] = kAbsent;
    if (drop > 0) ways.push_back(way_of(layer, row));
    if (view_.bits) continue;
    for (const Bits to : view_.shape.bitwidths) {
      std::vector<Bits> lower = row;
      for (int j = 0; j < plan_.slices; ++j)
        if ((loose >> j & 1) != 0 && row[j] != kAbsent)
          lower[j] = lowered({static_cast<int16_t>(layer), static_cast<int16_t>(j)}, to);
      if (lower != row) ways.push_back(way_of(layer, std::move(lower)));
    }
  }
}

LayerWay RestPaths::way_of(int layer, std::vector<Bits> row) const {
  const Layer& at = layers_[layer];
  LayerWay way;
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
    if (key.slices > 0) way.io += takes(key);
  }
  std::map<DeviceId, double> lanes;  // parts of a layer run beside each other
  for (const Task* task : at.computes) {
    CostKey key = task->cost.op == Op::kCombine ? task->cost : refit(task->cost, task->slice_set);
    key.bytes = task->cost.bytes;
    lanes[key.device] += takes(key);
  }
  for (const auto& [device, time] : lanes) way.compute = std::max(way.compute, time);
  way.row = std::move(row);
  return way;
}

RestPaths::Lateness RestPaths::lateness(double target) const {
  const int depth = static_cast<int>(layers_.size());
  double computes = 0, quick = 0;
  for (int l = 0; l < depth; ++l) {
    computes += compute_pace_ * chosen(l).compute;
    quick += l == next_ ? compute_pace_ * chosen(l).compute : layers_[l].quickest_compute;
  }
  Lateness out;
  out.computes = compute_free_ + computes - target;
  double io = io_free_, quick_io = io_free_;
  for (int l = 0; l < depth; ++l) {
    io += load_pace_ * chosen(l).io;
    quick_io += l == next_ ? worst_pace_ * chosen(l).io : layers_[l].quickest_io;
    if (layers_[l].loose != 0) {
      out.layers.push_back(l);
      out.paths.push_back(io + computes - target);
      out.guards.push_back(quick_io + quick - target);
    }
    computes -= compute_pace_ * chosen(l).compute;
    quick -= l == next_ ? compute_pace_ * chosen(l).compute : layers_[l].quickest_compute;
  }
  return out;
}

// The sum of all that is late, if layer `changed` took so much more (ns by the cost models).
double RestPaths::over(const Lateness& late, bool guarded, int changed, double io, double compute) const {
  const double more_io = load_pace_ * io, more_compute = compute_pace_ * compute;
  double sum = std::max(0.0, late.computes + more_compute);
  for (size_t i = 0; i < late.layers.size(); ++i) {
    const int l = late.layers[i];
    sum += std::max(0.0, late.paths[i] + (l >= changed ? more_io : 0) + (l <= changed ? more_compute : 0));
  }
  if (!guarded) return sum;
  const bool guards = changed == next_;  // the others' quickest ways stand in them
  const double worst_io = guards ? worst_pace_ * io : 0, worst_compute = guards ? more_compute : 0;
  for (size_t i = 0; i < late.layers.size(); ++i) {
    const int l = late.layers[i];
    sum += std::max(0.0, late.guards[i] + (l >= changed ? worst_io : 0) + (l <= changed ? worst_compute : 0));
  }
  return sum;
}

double RestPaths::latest() const {
  double computes = 0;
  for (size_t l = 0; l < layers_.size(); ++l) computes += compute_pace_ * chosen(static_cast<int>(l)).compute;
  double latest = compute_free_ + computes, io = io_free_;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const LayerWay& way = chosen(static_cast<int>(l));
    io += load_pace_ * way.io;
    if (layers_[l].loose != 0) latest = std::max(latest, io + computes);
    computes -= compute_pace_ * way.compute;
  }
  return latest;
}

bool RestPaths::improve(double target, bool guarded, bool drops) {
  const Lateness now = lateness(target);
  const double late = over(now, guarded);
  double best_price = 0, best_gain = 0;
  int best_layer = -1;
  size_t best_way = 0;
  for (int l = 0; l < static_cast<int>(layers_.size()); ++l) {
    const std::vector<LayerWay>& ways = layers_[l].page->ways;
    const LayerWay& has = chosen(l);
    for (size_t w = 0; w < ways.size(); ++w) {
      const LayerWay& way = ways[w];
      if (w == layers_[l].chosen || (way.drops && !drops) || (way.io >= has.io && way.compute >= has.compute)) continue;
      const double gain = late - over(now, guarded, l, way.io - has.io, way.compute - has.compute);
      if (gain < 1) continue;  // ns
      const double price = std::max(0.0, static_cast<double>(way.loss - has.loss)) / gain;
      if (best_layer >= 0 && (price > best_price || (price == best_price && gain <= best_gain))) continue;
      best_price = price, best_gain = gain, best_layer = l, best_way = w;
    }
  }
  if (best_layer >= 0) layers_[best_layer].chosen = best_way;
  return best_layer >= 0;
}

// Where the quickest ways of all would not survive the worst, its guard would only waste accuracy.
bool RestPaths::can_survive(double target) const {
  const LayerWay& has = chosen(next_);
  const Layer& next = layers_[next_];
  const Lateness now = lateness(target);
  const double io = next.quickest_io / load_pace_ - has.io, compute = next.quickest_compute / compute_pace_ - has.compute;
  return over(now, true, next_, io, compute) <= over(now, false, next_, io, compute);
}

bool RestPaths::survives(const std::vector<ShardEdit>& edits, double target) const {
  if (!can_survive(target)) return true;
  const LayerWay& stands = layers_[next_].page->ways.front();
  std::vector<Bits> row = stands.row;
  for (const ShardEdit& edit : edits)
    if (edit.shard.layer == next_) row[edit.shard.slice] = edit.bits;
  const LayerWay way = way_of(next_, std::move(row));
  const Lateness now = lateness(target);
  const double io = way.io - chosen(next_).io, compute = way.compute - chosen(next_).compute;
  return over(now, true, next_, io, compute) <= over(now, false, next_, io, compute);
}

bool RestPaths::meet(double target, bool drops) {
  for (Layer& layer : layers_) layer.chosen = 0;
  const bool guarded = can_survive(target);
  while (over(lateness(target), guarded) > 0) {
    add_ways();
    if (!improve(target, guarded, drops)) return false;
  }
  return true;
}

std::vector<ShardEdit> RestPaths::edits_of(int layer) const {
  std::vector<ShardEdit> out;
  const LayerWay& way = chosen(layer);
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
