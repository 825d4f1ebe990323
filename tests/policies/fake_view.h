// A described world for policy tests: shape, cost table, residency, and a small replay that obeys the executor's rules.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "framework/policy.h"
#include "framework/random.h"
#include "framework/replay.h"

namespace tessera::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() { return splitmix64(state_); }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int n) { return between(1, n) == 1; }

 private:
  uint64_t state_;
};

// Costs in whole nanoseconds.
class FakeCosts final : public CostOracle {
 public:
  std::vector<int64_t> layer;                 // [M + 1], by width
  std::array<int64_t, kBitsLevels> decode{};  // more, per slice at that level
  double ns_per_byte = 0;
  int64_t per_load = 0, rows = 0, embed = 0, exit = 0;
  double p95_factor = 1;
  std::vector<int64_t> percent;  // of all these, by device; 100 where there is none
  Estimate estimate(const CostKey& key) const override;
};

// A world; `view()` borrows it. Sizes of shards are weights x bits / 8.
struct World {
  ModelShape shape;
  AccuracyModel accuracy;
  Platform platform;
  FakeCosts costs;
  Residency residency;
  Budgets budgets;
  Bytes base;   // held whatever is planned
  Bytes fixed;  // held by every request
  int tokens = 128;
  uint64_t seed = 1;
  bool best_effort = false;
  std::optional<int> depth, width;
  std::optional<Bits> bits;
  double quantile = 0.5;
  Knobs knobs;
  std::vector<DeviceId> devices{1};
  mutable int replays = 0;

  // Makes layers 0..count-1 resident, all slices, at `bits`.
  void hold_layers(int count, Bits bits_held);
};

// Replays by a task graph of its own; kInternal for an illegal plan.
class FakeReplay final : public PlanReplay {
 public:
  explicit FakeReplay(const World& world) : world_(world) {}
  Result<Prediction> replay(const Plan& plan) const override;
  Result<Prediction> replay_if(const Plan& plan, Bytes memory, const Residency& residency) const override;

 private:
  const World& world_;
};

PlanningView view_of(const World& world, const PlanReplay& replay);

// BERT-base on the board of STI's prototype: its constants (STI, section 5; configs/platforms/sti-board.toml).
World sti_board();
// Any shape, board, budgets, profile and residency.
World random_world(uint64_t seed);

// "" where the plan is legal for the view and keeps its budgets; else what is wrong.
std::string fault(const World& world, const PlanReplay& replay, const Plan& plan);

// The policy's decision for the world; the test fails on an error.
Result<Decision> decide(const std::string& policy, const World& world);
Plan plan_of(const std::string& policy, const World& world);

// Shards by bitwidth.
std::map<int, int> histogram(const Plan& plan);

}  // namespace tessera::testing

namespace tessera {
void register_policies();
}
