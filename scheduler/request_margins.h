// Learns how much longer whole requests take than the replay of their plans says.
//
// Costs are measured task by task; what tasks do to each other (cores that loads and computes share, memory bandwidth, one
// slow moment that hits them all) shows only in whole requests. Two figures are kept for each kind of request:
//   ratio   measured time of the graph / its replay, at the middle of the cost models and at the plan's quantile
//   setup   from arrival to the first task: planning, binding
// The middle one is the median of the last requests. The high one is the smallest value that at least the share q of
// requests, the next one included, stays within if their order does not matter: the ceil(q (n + 1))-th smallest of n.
// Where the machine slows down, q is raised for a while: by kReaction with each request that took longer than planned for.
// Sources: split conformal prediction; Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018,
// section 2.2 (there of residuals, here of ratios); Gibbs and Candes, "Adaptive Conformal Inference Under Distribution
// Shift", NeurIPS 2021, eq. 2 (here never below the q that was asked for).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "framework/cost_model.h"

namespace tessera {

// What a replay is corrected by. Without knowledge: by nothing.
struct Margin {
  double middle = 1, high = 1;  // factors of the graph's time: of the expected one, and of the one at the plan's quantile
  Duration setup, setup_high;
};

// Requests that are alike: by one policy; the first one of a session meets cold caches.
struct RequestKind {
  std::string policy;
  bool first = false;
  bool operator<(const RequestKind& o) const { return first != o.first ? first < o.first : policy < o.policy; }
};

// What one request took, and what was predicted without any margin.
struct RequestTiming {
  Duration setup, measured, expected, planned;  // the last two: the replay at the middle, and at the quantile
  double quantile = 0.5;
  bool late = false;  // longer than was planned for with the margin
};

// The last requests of one kind, oldest first. `high` holds for one quantile only.
struct RequestWindow {
  RequestKind kind;
  double quantile = 0.5;
  std::vector<double> middle, high, setup_ns;
};

// One thread.
class RequestMargins {
 public:
  // Of the policy's own requests; of all policies' where it has not had enough for the quantile; of requests that were not
  // the first where there were not enough of those either; nothing before the third.
  // Stays the same until it would move by more than a twentieth, so that plans can be reused.
  Margin margin(const RequestKind& kind, double quantile) const;
  // Refuses (false) what cannot be: times that are not positive.
  bool observe(const RequestKind& kind, const RequestTiming& timing);
  // A request was refused that would fit without its margin. What is refused teaches nothing, so that a bad moment could
  // refuse for ever: the worst that was seen is forgotten.
  void doubt(const RequestKind& kind);
  std::vector<RequestWindow> save() const;
  void restore(const std::vector<RequestWindow>& windows);

 private:
  struct Window {
    double quantile = 0.5;
    double level = 0.5;  // quantile, or more after late requests
    std::deque<double> middle, high, setup_ns;
    Margin margin;
    void add(const RequestTiming& timing);
    void forget_worst();
    Margin summary() const;
    bool enough_for(double quantile) const;
  };
  std::map<RequestKind, Window> windows_;  // policy "" stands for all
};

// Another oracle's costs with a margin, for plans at `quantile`. The first load of a request, that of its embedding rows,
// carries the setup too: no task starts before. Borrows the oracle.
class MarginCosts final : public CostOracle {
 public:
  MarginCosts(const CostOracle& costs, const Margin& margin, double quantile);
  Estimate estimate(const CostKey& key) const override;

 private:
  const CostOracle& costs_;
  const Margin margin_;
  const double quantile_;
  double reach_ = 1;  // at(quantile) - mean, in units of p95 - mean
};

}  // namespace tessera
