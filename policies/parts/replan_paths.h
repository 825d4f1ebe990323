// What is left of a running request: ways in which each layer can still be loaded, and the paths that must end in time.
//
//   path k:      loads of layers ..k, then computes of layers k..        by the measured pace
//   guard k:     the same, the next layer's loads at the worst pace and all that follows in its quickest way
//   a way:       the layer's first slices at no more than some bits; io, compute and loss of it
// While a path is late, the layer changes its way whose loss for each ns of lateness is least. So bits are lowered where
// loads bind, slices dropped where computes do.
#pragma once

#include <utility>
#include <vector>

#include "framework/plan_editor.h"
#include "framework/policy.h"

namespace tessera {

// Whether such bits of a shard of the plan lose more than its absence would, where a legal width may lack it.
bool worse_than_absent(const PlanningView& view, const Plan& plan, ShardId id, Bits bits);

// A layer's bits, what they take by the cost models, in ns, and what they lose.
struct LayerWay {
  std::vector<Bits> row;  // [M]
  double io = 0, compute = 0;
  int64_t loss = 0;  // before the scale
  bool drops = false;
};

// What was worked out of a layer. It holds from event to event of a request, as long as the layer stands as it did.
struct WayPage {
  std::vector<Bits> row;
  SliceMask loose = 0;                           // slices that pending loads bring
  std::vector<TaskId> loads, computes;           // that have not started
  std::vector<LayerWay> ways;                    // the first: as it stands
  std::vector<std::pair<double, double>> quick;  // (io, compute) of the narrowest, at each of the bits, and as it stands
  bool complete = false;                         // all ways are there
};
using WayBook = std::vector<WayPage>;  // [depth], or empty

// Of one moment. All times in ns since the arrival; doubles, in a fixed order of operations.
class RestPaths {
 public:
  // `ended`: by task, may be short. `worst_loads`: a pace, as those of Pace. `book`: one request's, outlives this.
  RestPaths(const PlanEditor& editor, Duration now, const std::vector<bool>& ended, const Pace& pace, int64_t worst_loads,
            WayBook& book);

  double latest() const;  // the latest path, as chosen
  // Chooses ways so that all paths (and guards, where the quickest ways would keep them) end by `target`; false: some do
  // not. `drops`: whether slices may be left out.
  bool meet(double target, bool drops);
  // Whether the next layer with such edits leaves the guards kept, where its quickest way would.
  bool survives(const std::vector<ShardEdit>& edits, double target) const;
  std::vector<ShardEdit> edits() const;              // of all layers, as chosen
  std::vector<ShardEdit> edits_of(int layer) const;  // of one
  int next() const { return next_; }                 // the layer whose load comes next

 private:
  struct Layer {
    SliceMask loose = 0;
    std::vector<const Task*> loads, computes;  // that have not started
    WayPage* page = nullptr;
    size_t chosen = 0;
    double quickest_io = 0, quickest_compute = 0;  // at the measured pace
  };
  // How late each path and guard is (negative: how early), as chosen.
  struct Lateness {
    double computes = 0;                // of no load at all
    std::vector<int> layers;            // that have loads to come: those that have paths
    std::vector<double> paths, guards;  // of them
  };
  void collect(Duration now, std::vector<bool> begun);
  void open_page(int layer);
  void add_ways();  // all; once, and only where something is late
  void add_ways(int layer, int from_dropped, int to_dropped);
  LayerWay way_of(int layer, std::vector<Bits> row) const;
  const LayerWay& chosen(int layer) const { return layers_[layer].page->ways[layers_[layer].chosen]; }
  bool can_survive(double target) const;
  Bits lowered(ShardId id, Bits to) const;
  std::vector<int> droppable(int layer) const;
  Lateness lateness(double target) const;
  double over(const Lateness& late, bool guarded, int changed = -1, double io = 0, double compute = 0) const;
  bool improve(double target, bool guarded, bool drops);

  const PlanEditor& editor_;
  const PlanningView& view_;
  const Plan& plan_;
  const double load_pace_, compute_pace_, worst_pace_;
  std::vector<Layer> layers_;  // [depth]
  double io_free_ = 0, compute_free_ = 0;
  int next_ = 0;
};

}  // namespace tessera
