// Searches the relaxed problem: labels of partial plans, layer by layer, with dominance and the dual's potential.
//
//   label after layer k:  (a, f, loss so far, slices so far, bytes of layer k); another one that is no worse in any of them
//   makes it useless. Labels that the dual proves to lead to nothing better are never made.
// Reference: label setting for resource-constrained paths, Irnich and Desaulniers, "Shortest path problems with resource
// constraints", in: Column Generation, 2005; reduced-cost fixing, Fisher, Management Science 27, 1981.
#pragma once

#include <optional>
#include <vector>

#include "policies/parts/exact_dual.h"

namespace tessera {

// A choice of one option a layer.
struct ExactSolution {
  int depth = 0;
  int64_t loss = 0;                        // micro-nats, of the whole plan
  std::vector<const LayerOption*> chosen;  // [depth]
};

// What is known after a search.
struct ExactOutcome {
  std::optional<ExactSolution> best;
  // No choice that keeps the relaxed problem's constraints loses less. Nothing where there is no such choice at all.
  std::optional<int64_t> bound;
};

// How much may be tried, in labels that are made: counts, never time, so that every machine decides alike.
struct SearchLimits {
  size_t labels = 700'000;  // of all exact passes together
  size_t beam = 48;         // labels a layer keeps in the passes that look for a good plan first
};

// What is known of memory while labels are extended.
enum class Room {
  kBounded,     // what holds for every order of loads
  kAllHeld,     // followed, as if every resident stayed until its layer has been computed
  kNoneUnused,  // followed, as if none did that is not used by the layer at hand
};

class ExactSearch {
 public:
  ExactSearch(const ExactModel& model, SearchLimits limits);

  // The least loss, and the bound that proves it or comes near it. Once.
  ExactOutcome solve();
  // The choice with the least time of a depth, whatever it loses; and that time. Exact where the relaxed problem is.
  std::optional<std::pair<int64_t, ExactSolution>> fastest(int depth);
  // A good choice under another latency and with memory followed as a replay in layer order does, each layer one load:
  // whatever it finds is no later when it is replayed. Uses the duals of solve(), which comes first.
  std::optional<ExactSolution> find(int64_t latency, Room room);
  // Labels that exact passes have made so far.
  size_t made() const { return made_; }

 private:
  static constexpr int64_t kUnbounded = INT64_MAX / 8;
  struct Label {
    int64_t storage = 0, done = 0;  // a, f
    int64_t loss = 0;
    int64_t least = 0;  // of any plan that it can lead to, in 1/1024 micro-nats
    int64_t bytes = 0;  // of the last layer
    int32_t parent = -1;
    uint32_t option = 0;
    int32_t count = 0;
    uint32_t memory = 0;  // of followed_, where memory is followed
  };
  using Labels = std::vector<Label>;
  // What is given back when, oldest first.
  struct Held {
    int64_t until = 0, bytes = 0;
  };
  using Memory = std::array<Held, 3>;
  struct Class {
    SizeClass size;
    Dual dual;
    int64_t bound = 0;  // of the plan's loss
  };
  // What the rest of a plan takes at the least, by layer from which it goes on.
  struct Rest {
    std::vector<int64_t> compute, io, loss;
    std::vector<int> fewest, most;  // slices
  };
  struct Pass {
    const Class& of;
    int64_t latency = 0;
    int64_t most_loss = 0;   // summed: labels above are useless
    int64_t most_least = 0;  // the same of Label::least
    size_t beam = 0;         // 0: exact
    Room room = Room::kBounded;
    bool all_options = false;  // of a beam
  };
  void start(int depth);
  const std::vector<uint32_t>& quick_options(int layer);
  Rest rest_of(const SizeClass& size) const;
  const Rest& rest(const SizeClass& size);
  std::optional<Label> extended(const Pass& pass, const Rest& rest, const Label& from, int layer, const LayerOption& option);
  bool follow(const Pass& pass, const Label& from, int layer, const LayerOption& option, Label& to);
  bool place(const Pass& pass, const Label& from, int layer, const LayerOption& option, Label& to);
  bool extend(const Pass& pass, const Rest& rest, const Label& from, int32_t parent, int layer, const Dual::Group& group,
              Labels& next);
  int64_t in_the_way(const Pass& pass, int layer, int64_t bytes) const;
  void reduce(const Pass& pass, int layer, Labels& labels);
  // False where the labels ran out; `found` is then what a narrower pass would have found, if anything.
  bool run(const Pass& pass, std::optional<ExactSolution>& found);
  void close(Class& of, ExactOutcome& out);
  ExactSolution traced(const SizeClass& size) const;

  const ExactModel& model_;
  DualSolver dual_;
  const SearchLimits limits_;
  size_t made_ = 0;                           // labels, of exact passes
  std::vector<Class> classes_;                // that may have plans in time, by rising bound
  std::vector<int64_t> largest_;              // [layer]: bytes of its largest option
  std::vector<int64_t> later_residents_;      // [layer]: bytes that may be held of it and of those after it
  std::vector<std::vector<uint32_t>> quick_;  // [layer]
  std::vector<std::optional<Rest>> rests_;    // by depth
  // Of the pass at hand; what it took in memory is the next one's.
  std::vector<Labels> labels_;    // [depth + 1]
  Labels next_, kept_;            // of the layer at hand: all, and those that reduce() leaves
  std::vector<Memory> followed_;  // by Label::memory
  Memory next_memory_{};          // of the label at hand
};

}  // namespace tessera
