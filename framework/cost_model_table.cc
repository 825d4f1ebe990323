// Looks costs up in a table of measured (or published) points, and says when it had to guess between or beyond them.
//
//   cost(T, slices, bits) = decoded(T, slices) + mean over the slices of extra(T, slices, bits of the slice)
//
// decoded is the grid of points with decoded weights; extra is what a coded point took above it, constant beyond the token
// counts at which it was measured (decoding does not depend on T). Without decoded points the coded grids stand alone.
#include <algorithm>
#include <cmath>

#include "framework/cost_model.h"
#include "framework/cost_model_learned.h"
#include "framework/cost_model_work.h"

namespace tessera {
namespace {

// An estimate that can be added and scaled; nanoseconds.
struct Cost {
  double mean = 0, spread = 0, variance = 0, energy = 0;
  int64_t workspace = 0;
  int64_t samples = 0;
  Provenance provenance = Provenance::kMeasured;
};

Cost times(Cost c, double factor) {
  c.mean *= factor;
  c.spread *= factor;
  c.variance *= factor * factor;
  c.energy *= factor;
  return c;
}

Cost plus(Cost a, const Cost& b) {
  a.mean += b.mean;
  a.spread += b.spread;
  a.variance += b.variance;
  a.energy += b.energy;
  a.workspace = std::max(a.workspace, b.workspace);
  a.samples = std::min(a.samples, b.samples);
  a.provenance = std::max(a.provenance, b.provenance);
  return a;
}

// Exact at both ends.
Cost between(const Cost& a, const Cost& b, double where) {
  if (where <= 0) return a;
  if (where >= 1) return b;
  Cost c = plus(times(a, 1 - where), times(b, where));
  c.variance = a.variance * (1 - where) + b.variance * where;
  return c;
}

struct Cell {
  int slices = 0;
  Cost cost;
};
struct Row {
  int tokens = 0;
  std::vector<Cell> cells;  // ascending by slices
};
using Grid = std::vector<Row>;  // ascending by tokens

// Index of the last entry at or below `value`, by `field`; -1 where all are above.
template <typename Entry>
int last_at_or_below(const std::vector<Entry>& entries, int Entry::*field, int value) {
  int at = -1;
  while (at + 1 < static_cast<int>(entries.size()) && entries[at + 1].*field <= value) ++at;
  return at;
}

double fraction(int from, int to, int value) { return static_cast<double>(value - from) / (to - from); }

void put(Grid& grid, int tokens, int slices, const Cost& cost) {
  auto row = std::lower_bound(grid.begin(), grid.end(), tokens, [](const Row& r, int t) { return r.tokens < t; });
  if (row == grid.end() || row->tokens != tokens) row = grid.insert(row, Row{tokens, {}});
  auto& cells = row->cells;
  auto cell = std::lower_bound(cells.begin(), cells.end(), slices, [](const Cell& c, int s) { return c.slices < s; });
  if (cell == cells.end() || cell->slices != slices) cell = cells.insert(cell, Cell{slices, {}});
  cell->cost = cost;
}

bool has_slices(Op op) { return op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart; }

class TableModel final : public CostModel {
 public:
  TableModel(const ModelShape& shape, const std::vector<CostPoint>& points) : shape_(shape), grids_(kOpCount * kPlanes) {
    for (const CostPoint& p : points) add(p);
    // What coded points took above decoded ones, where there are decoded ones.
    for (int op = 0; op < kOpCount; ++op) {
      if (grid(op, kDecodedPlane).empty()) continue;
      for (int level = 0; level < kBitsLevels; ++level) subtract_decoded(static_cast<Op>(op), level);
    }
  }
  std::string_view kind() const override { return "table"; }
  Estimate estimate(const CostKey& key) const override { return learned_.apply(key, own(key)); }
  bool observe(const CostKey& key, Duration measured) override { return learned_.observe(key, own(key).mean, measured); }
  std::vector<LearnedWindow> learned() const override { return learned_.save(); }
  void restore(const std::vector<LearnedWindow>& windows) override { learned_.restore(windows); }

 private:
  // One grid for each level of coded weights, one for decoded ones.
  static constexpr int kDecodedPlane = kBitsLevels;
  static constexpr int kPlanes = kBitsLevels + 1;
  const Grid& grid(int op, int plane) const { return grids_[static_cast<size_t>(op) * kPlanes + plane]; }
  Grid& grid(int op, int plane) { return grids_[static_cast<size_t>(op) * kPlanes + plane]; }

  static int level_of(const CostKey& key) {
    int most = 0;
    for (int level = 1; level < kBitsLevels; ++level)
      if (key.bits[level] > key.bits[most]) most = level;
    return most;
  }

  void add(const CostPoint& p) {
    const bool sliced = has_slices(p.key.op);
    const int plane = !sliced || p.key.decoded ? kDecodedPlane : level_of(p.key);
    const Estimate& e = p.estimate;
    const Cost cost{static_cast<double>(std::max<int64_t>(e.mean.ns, 0)),
                    static_cast<double>(std::max<int64_t>(e.p95.ns - e.mean.ns, 0)),
                    e.variance_ns2,
                    e.energy.value,
                    e.workspace.n,
                    e.samples,
                    e.provenance};
    put(grid(static_cast<int>(p.key.op), plane), p.key.tokens, sliced ? p.key.slices : 0, cost);
  }

  void subtract_decoded(Op op, int level) {
    for (Row& row : grid(static_cast<int>(op), level)) {
      for (Cell& cell : row.cells) {
        const Cost below = at(op, grid(static_cast<int>(op), kDecodedPlane), row.tokens, cell.slices);
        const Cost whole = cell.cost;
        cell.cost = plus(whole, times(below, -1));
        cell.cost.variance = std::max(0.0, whole.variance - below.variance);
        cell.cost.provenance = whole.provenance;
      }
    }
  }

  double work(Op op, int tokens, int slices) const {
    CostKey key;
    key.op = op;
    key.tokens = static_cast<uint16_t>(tokens);
    key.slices = static_cast<uint8_t>(slices);
    return std::max(multiply_adds(shape_, key), 1.0);
  }

  // Beyond the measured points a cost grows as its multiply-adds do.
  Cost guess(Op op, Cost from, int from_tokens, int from_slices, int tokens, int slices) const {
    from = times(from, work(op, tokens, slices) / work(op, from_tokens, from_slices));
    from.provenance = Provenance::kGuessed;
    return from;
  }

  Cost along_slices(Op op, const Row& row, int slices) const {
    const int i = last_at_or_below(row.cells, &Cell::slices, slices);
    if (i >= 0 && row.cells[i].slices == slices) return row.cells[i].cost;
    if (i < 0) return guess(op, row.cells.front().cost, row.tokens, row.cells.front().slices, row.tokens, slices);
    const Cell& left = row.cells[i];
    if (i + 1 == static_cast<int>(row.cells.size())) {
      return guess(op, left.cost, row.tokens, left.slices, row.tokens, slices);
    }
    const Cell& right = row.cells[i + 1];
    return between(left.cost, right.cost, fraction(left.slices, right.slices, slices));
  }

  Cost at(Op op, const Grid& g, int tokens, int slices) const {
    const int i = last_at_or_below(g, &Row::tokens, tokens);
    if (i >= 0 && g[i].tokens == tokens) return along_slices(op, g[i], slices);
    if (i < 0) {
      // Below several measured counts, what does not depend on T rules: the least count's cost stays.
      Cost c = along_slices(op, g.front(), slices);
      if (g.size() == 1) return guess(op, c, g.front().tokens, slices, tokens, slices);
      c.provenance = Provenance::kGuessed;
      return c;
    }
    const Cost left = along_slices(op, g[i], slices);
    if (i + 1 == static_cast<int>(g.size())) return guess(op, left, g[i].tokens, slices, tokens, slices);
    return between(left, along_slices(op, g[i + 1], slices), fraction(g[i].tokens, g[i + 1].tokens, tokens));
  }

  // The extra cost of coded weights: constant beyond its rows, in proportion to the slices beyond its cells.
  static Cost extra_along(const Row& row, int slices) {
    const int i = last_at_or_below(row.cells, &Cell::slices, slices);
    const int last = static_cast<int>(row.cells.size()) - 1;
    if (i >= 0 && i < last) {
      const Cell& left = row.cells[i];
      const Cell& right = row.cells[i + 1];
      return between(left.cost, right.cost, fraction(left.slices, right.slices, slices));
    }
    const Cell& nearest = row.cells[i < 0 ? 0 : last];
    if (nearest.slices == slices || nearest.slices == 0) return nearest.cost;
    Cost c = times(nearest.cost, static_cast<double>(slices) / nearest.slices);
    c.provenance = Provenance::kGuessed;
    return c;
  }
  static Cost extra(const Grid& g, int tokens, int slices) {
    const int i = last_at_or_below(g, &Row::tokens, tokens);
    if (i < 0) return extra_along(g.front(), slices);
    if (i + 1 == static_cast<int>(g.size())) return extra_along(g.back(), slices);
    return between(extra_along(g[i], slices), extra_along(g[i + 1], slices), fraction(g[i].tokens, g[i + 1].tokens, tokens));
  }

  // The grid of a level, or of the nearest one that has points (`exact_level` tells); nullptr where none has.
  const Grid* coded_grid(int op, int level, bool* exact_level) const {
    for (int away = 0; away < kBitsLevels; ++away) {
      for (int candidate : {level - away, level + away}) {
        if (candidate < 0 || candidate >= kBitsLevels || grid(op, candidate).empty()) continue;
        *exact_level = away == 0;
        return &grid(op, candidate);
      }
    }
    return nullptr;
  }

  Cost coded_cost(Op op, int level, int tokens, int slices, bool beyond_decoded) const {
    bool exact_level = true;
    const Grid* g = coded_grid(static_cast<int>(op), level, &exact_level);
    if (g == nullptr) return {0, 0, 0, 0, 0, 0, Provenance::kGuessed};
    Cost c = beyond_decoded ? extra(*g, tokens, slices) : at(op, *g, tokens, slices);
    if (!exact_level) c.provenance = Provenance::kGuessed;
    return c;
  }

  // Mean over the slices' levels; a key without a histogram counts as exact.
  Cost mixed(const CostKey& key, int tokens, bool beyond_decoded) const {
    int total = 0;
    for (int level = 1; level < kBitsLevels; ++level) total += key.bits[level];
    if (total == 0) return coded_cost(key.op, bits_level(kExact), tokens, key.slices, beyond_decoded);
    Cost sum;
    sum.samples = INT64_MAX;
    for (int level = 1; level < kBitsLevels; ++level) {
      if (key.bits[level] == 0) continue;
      const Cost c = coded_cost(key.op, level, tokens, key.slices, beyond_decoded);
      if (key.bits[level] == total) return c;
      sum = plus(sum, times(c, key.bits[level]));
    }
    const double variance = sum.variance / total;  // the weights' squares are left out: levels vary together
    sum = times(sum, 1.0 / total);
    sum.variance = variance / total;
    return sum;
  }

  Cost lookup(const CostKey& key, int tokens) const {
    const int op = static_cast<int>(key.op);
    const Grid& decoded = grid(op, kDecodedPlane);
    if (!has_slices(key.op)) return at(key.op, decoded, tokens, 0);
    if (decoded.empty()) {
      Cost c = mixed(key, tokens, false);
      if (key.decoded) c.provenance = Provenance::kGuessed;
      return c;
    }
    const Cost base = at(key.op, decoded, tokens, key.slices);
    return key.decoded ? base : plus(base, mixed(key, tokens, true));
  }

  bool has_points(Op op) const {
    for (int plane = 0; plane < kPlanes; ++plane)
      if (!grid(static_cast<int>(op), plane).empty()) return true;
    return false;
  }

  // A part of a layer that was not measured by itself costs its share of the layer's multiply-adds.
  Cost share_of_layer(const CostKey& key, int tokens) const {
    CostKey whole = key;
    whole.op = Op::kLayer;
    if (!has_slices(key.op)) {
      whole.slices = static_cast<uint8_t>(shape_.slices);
      whole.decoded = true;
    }
    Cost c = times(lookup(whole, tokens), work(key.op, tokens, key.slices) / work(Op::kLayer, tokens, whole.slices));
    c.provenance = Provenance::kGuessed;
    return c;
  }

  Estimate own(const CostKey& key) const {
    const int batch = std::max<int>(key.batch, 1);
    const int tokens = std::max<int>(key.tokens, 1);
    Cost c{0, 0, 0, 0, 0, 0, Provenance::kGuessed};
    if (has_points(key.op)) {
      c = lookup(key, tokens);
    } else if (is_compute(key.op) && has_points(Op::kLayer)) {
      c = share_of_layer(key, tokens);
    }
    if (batch > 1) {  // sequences do not help each other here: an upper bound
      c = times(c, batch);
      c.provenance = Provenance::kGuessed;
    }
    Estimate e;
    e.mean = {static_cast<int64_t>(std::floor(std::clamp(c.mean, 0.0, 4e18) + 0.5))};
    e.p95 = {e.mean.ns + static_cast<int64_t>(std::floor(std::clamp(c.spread, 0.0, 5e17) + 0.5))};
    e.variance_ns2 = std::max(c.variance, 0.0);
    e.energy = {c.energy};
    e.workspace = {c.workspace};
    e.provenance = c.provenance;
    e.samples = c.samples;
    return e;
  }

  const ModelShape shape_;
  std::vector<Grid> grids_;  // [op][plane]
  LearnedRatios learned_;
};

}  // namespace

std::unique_ptr<CostModel> make_table(const ModelShape& shape, const std::vector<CostPoint>& points) {
  return std::make_unique<TableModel>(shape, points);
}

}  // namespace tessera
