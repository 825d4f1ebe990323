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

// Of one size class.
struct Dual {
  // In micro-nats: no choice of options within the budgets has a smaller sum of losses.
  int64_t bound = 0;
  // The same in 1/1024 micro-nats, rounded down: what reduced values add to.
  int64_t potential = 0;
  // [layer][option]: by how much, in 1/1024 micro-nats, choosing it raises the bound; at least 0, rounded down.
  std::vector<std::vector<int64_t>> reduced;
};

inline constexpr int64_t kReducedUnit = 1024;

class DualSolver {
 public:
  explicit DualSolver(const ExactModel& model);
  // Starts from where the last call ended.
  Dual solve(const SizeClass& size);

 private:
  struct Point {
    double io, compute, tail, count, loss;
  };
  // Per time of one whole budget, and per slice.
  struct Multipliers {
    double chain = 0, exit = 0, more = 0, fewer = 0;
    std::vector<double> loads;  // [depth]
  };
  // Per layer: what its option pays for each unit.
  struct Prices {
    double io = 0, compute = 0, tail = 0, count = 0;
  };
  static std::vector<Prices> prices(const SizeClass& size, const Multipliers& at);
  double evaluate(const SizeClass& size, const Multipliers& at, Multipliers& violation) const;
  Dual exactly(const SizeClass& size, const Multipliers& at) const;

  const ExactModel& model_;
  std::vector<std::vector<Point>> hulls_;  // [layer]: options that can be the cheapest at some prices
  double range_ = 0;                       // of summed losses
  double scale_ = 1;                       // ns of the whole budget
  Multipliers last_;
};

}  // namespace tessera
