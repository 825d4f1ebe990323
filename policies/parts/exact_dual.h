// Prices time: the Lagrangian dual of the relaxed problem gives a proven bound and a potential that guides the search.
//
//   bound(multipliers) = sum over layers of min over options of [ loss + price of its io, compute, tail, slices ] - budgets
//
// holds for any multipliers >= 0 (weak duality); subgradient steps look for good ones in doubles, the bound itself is then
// evaluated in integers. Reference: Geoffrion, "Lagrangean relaxation for integer programming", Math. Programming Study 2,
// 1974; Held, Wolfe, Crowder, "Validation of subgradient optimization", Math. Programming 6, 1974.
#pragma once

#include <vector>

#include "policies/parts/exact_model.h"

namespace tessera {

// Per time of one whole budget, and per slice.
struct Multipliers {
  double chain = 0, exit = 0, more = 0, fewer = 0;
  std::vector<double> loads;  // [depth]
};

// Of one size class: multipliers, and what they prove of every partial plan. Losses in 1/1024 micro-nats, rounded down.
//
// What is still to be chosen from layer l on, with storage free at a and layer l - 1 done at f, adds at least
//   price of storage * (a - T') + least over the rest of [ loss + price of io, compute, tail ] with sum of compute <= T' - f
// where only constraints of layers from l on are priced; the sum of compute is kept as it is, in steps rounded down.
class Dual {
 public:
  static constexpr int64_t kUnit = 1024;
  static constexpr int64_t kNever = INT64_MAX / 4;
  // Options of a layer that differ in io and loss (and bytes) only, by rising loss + price of storage after the layer.
  struct Group {
    int64_t compute = 0, tail = 0;
    int count = 0;
    std::vector<std::pair<int64_t, uint32_t>> by_price;  // (that sum, option)
  };

  // kNever where the rest cannot be computed in time.
  int64_t rest(int layer, int64_t storage, int64_t done, int count) const {
    const int64_t most = tables_[static_cast<size_t>(layer)].empty() ? kNever : compute_rest(layer, done);
    return most >= kNever ? kNever : most + priced(layer, storage) + counted(count);
  }
  // Parts of it.
  int64_t compute_rest(int layer, int64_t done) const;
  int64_t priced(int layer, int64_t storage) const;  // negative: storage has time left
  int64_t counted(int count) const;
  // Of the whole plan's sum of losses, in whole micro-nats, rounded up.
  int64_t bound = 0;
  std::vector<std::vector<Group>> groups;  // [layer]; empty until DualSolver::list()

 private:
  friend class DualSolver;
  Multipliers at_;
  int64_t time_ = 0, step_ = 1;         // T', and of the tables
  std::vector<int64_t> storage_price_;  // [depth + 1]: of storage before the layer, in 2^-30 micro-nats a ns
  int64_t more_ = 0, fewer_ = 0;        // 2^-30 micro-nats a slice
  int low_ = 0, high_ = 0;
  std::vector<std::vector<int64_t>> tables_;  // [depth + 1][steps of compute time left]
};

class DualSolver {
 public:
  explicit DualSolver(const ExactModel& model);
  // Starts from where the last call ended.
  Dual solve(const SizeClass& size);
  // Betters multipliers further, with the sum of compute kept as the bound keeps it: dearer steps, for classes that matter.
  void refine(const SizeClass& size, Dual& dual) const;
  // Lists the options of each layer by price, for a search.
  void list(const SizeClass& size, Dual& dual) const;

 private:
  struct Point {
    double io, compute, tail, count, loss;
  };
  // Of a Dual::Group, whatever the prices.
  struct OptionGroup {
    int64_t compute = 0, tail = 0;
    int count = 0;
    uint32_t first = 0, last = 0;    // in order_[layer]
    uint32_t tip = 0, last_tip = 0;  // in tips_[layer]
  };
  // An option that is the cheapest of its group at some price of storage.
  struct Tip {
    int64_t io = 0, loss = 0;
  };
  // Per layer: what its option pays for each unit.
  struct Prices {
    double io = 0, compute = 0, tail = 0, count = 0;
    double of(const Point& p) const { return p.loss + io * p.io + compute * p.compute + tail * p.tail + count * p.count; }
  };
  static std::vector<Prices> prices(const SizeClass& size, const Multipliers& at);
  // How a climb looks at a point: the bound there; the violations of its minimiser are a subgradient.
  enum class Compute { kPriced, kKept };
  Multipliers climb(const SizeClass& size, Multipliers at, Compute how, int steps, double step) const;
  bool move(const SizeClass& size, Multipliers& at, Compute how, const Multipliers& slopes, double rise) const;
  double evaluate(const SizeClass& size, const Multipliers& at, Compute how, Multipliers& violation) const;
  std::vector<Point> cheapest(const std::vector<Prices>& prices) const;
  std::vector<Point> cheapest_in_time(const std::vector<Prices>& prices) const;
  Dual exactly(const SizeClass& size, const Multipliers& at) const;
  void group(const ExactLayer& layer);
  struct Item {
    int64_t compute = 0, value = 0;
  };
  std::vector<Item> items_of(const Dual& dual, size_t layer, int64_t load) const;
  void tabulate(Dual& dual, const SizeClass& size, const std::vector<int64_t>& loads, int64_t exit) const;

  const ExactModel& model_;
  std::vector<std::vector<Point>> hulls_;         // [layer]: the tips of all its groups
  std::vector<std::vector<OptionGroup>> groups_;  // [layer]: by compute, tail and count
  std::vector<std::vector<uint32_t>> order_;      // [layer]: options, group by group
  std::vector<std::vector<Tip>> tips_;            // [layer]: group by group
  double range_ = 0;                              // of summed losses
  double scale_ = 1;                              // ns of the whole budget
  Multipliers last_;
};

}  // namespace tessera
