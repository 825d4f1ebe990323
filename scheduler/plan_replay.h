// Predicts what a plan would do: lowers it to a graph and replays that in virtual time.
#pragma once

#include <array>
#include <unordered_map>
#include <vector>

#include "framework/policy.h"
#include "framework/replay.h"
#include "shards/graph_builder.h"

namespace tessera {

// Remembers estimates by cost key: a policy asks for the same few keys thousands of times. One thread.
class CachedCosts final : public CostOracle {
 public:
  explicit CachedCosts(const CostOracle& costs) : costs_(costs) {}
  Estimate estimate(const CostKey& key) const override;

 private:
  using Packed = std::array<uint64_t, 4>;
  struct Hash {
    size_t operator()(const Packed& key) const;
  };
  static Packed pack(const CostKey& key);
  const CostOracle& costs_;
  mutable std::unordered_map<Packed, Estimate, Hash> known_;
};

// A plan with its graph and its predicted timeline; lowered.plan.predicted is filled from it.
struct ReplayedPlan {
  LoweredPlan lowered;
  Timeline timeline;
  Prediction prediction;
};

// What a timeline of a plan's graph says of it; without `expected`.
Prediction predict(const ModelShape& shape, const AccuracyModel& accuracy, const Plan& plan, const TaskGraph& graph,
                   const Timeline& timeline);

// What a request is replayed against. References outlive the replay.
struct ReplayContext {
  const ModelShape& shape;
  const AccuracyModel& accuracy;
  const Platform& platform;
  const CostOracle& costs;
  const Residency& residency;
  DeviceId storage = 0;
  int tokens = 0;
  Bytes memory = kUnlimited;  // the request's budget for the host's memory
  Bytes base;                 // held by the process whatever is planned: resident parts, tokenizer
};

// Bytes that memory m may hold: the request's budget on the host, what the platform says elsewhere.
std::vector<Bytes> memory_capacities(const Platform& platform, Bytes budget);

// By memory: what a run holds from its start; `base` is the process's own, in the host's.
std::vector<Bytes> held_from_start(Bytes base, const std::vector<Bytes>& residents, const std::vector<Bytes>& fixed);

// Pure but for the cache; used by one thread at a time.
class GraphReplay final : public PlanReplay {
 public:
  explicit GraphReplay(const ReplayContext& context) : context_(context), costs_(context.costs) {}
  Result<Prediction> replay(const Plan& plan) const override;
  Result<Prediction> replay_if(const Plan& plan, Bytes memory, const Residency& residency) const override;
  // The same with all that it was computed from.
  Result<ReplayedPlan> replay_fully(const Plan& plan) const;

 private:
  Result<ReplayedPlan> replay_under(const Plan& plan, Bytes memory, const Residency& residency) const;
  ReplayContext context_;
  CachedCosts costs_;
};

}  // namespace tessera
