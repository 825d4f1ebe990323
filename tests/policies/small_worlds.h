// Builds random worlds of at most 2 x 3 shards and three bitwidths, and finds their best plan by trying every one.
#pragma once

#include <optional>
#include <vector>

#include "tests/policies/fake_view.h"

namespace tessera::testing {

// Shapes, costs, profiles (with and without a scale by width, slice sets or prefixes), residents and budgets of all kinds.
World small_world(uint64_t seed);

struct BruteForce {
  std::optional<int64_t> loss;  // micro-nats; nothing where no plan keeps the budgets
  int plans = 0;
};

// Every exit, slice set and bits; loads in layer order, one a bitwidth, on the world's one device.
BruteForce brute_force(const World& world);

// Cases of a property: all in a release build, fewer where sanitizers make them 10 to 20 times slower.
constexpr uint64_t cases(uint64_t all) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return all / 12;
#else
  return all;
#endif
}

}  // namespace tessera::testing
