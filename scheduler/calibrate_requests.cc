// Measures whole requests: what loads and computes do to each other, of which tasks measured one by one know nothing.
#include <algorithm>
#include <memory>

#include <spdlog/spdlog.h>

#include "framework/clock.h"
#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

constexpr int kMost = 40;  // more than a conformal 0.95 needs (19)
constexpr int kTokens[] = {10, 20, 40};

std::vector<int32_t> some_ids(const ModelShape& shape, int tokens, int round) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (int t = 0; t < tokens; ++t) ids[static_cast<size_t>(t)] = (t * 7919 + round * 104729) % shape.vocab;
  return ids;
}

}  // namespace

void measure_requests(Machine& machine, const Store& store, const std::string& policy, Duration budget) {
  const ModelShape& shape = store.shape();
  std::vector<Bits> coded;
  for (const Bits bits : shape.bitwidths)
    if (bits != kExact) coded.push_back(bits);
  if (policies().find(policy) == nullptr || coded.empty()) return;
  const AccuracyModel unknown = random_importance(shape, 1);
  const auto session = Session::open(shape, &store, unknown, machine, Bytes{});
  if (!session.ok()) return;  // it cannot run here at all; whoever opens one learns why
  const Duration start = WallClock::instance().now();
  for (int round = 0; round < kMost; ++round) {
    RequestOptions options;
    options.policy = policy;
    options.bits = coded[static_cast<size_t>(round) % coded.size()];
    const std::vector<int32_t> ids = some_ids(shape, std::min(kTokens[round % 3], shape.max_tokens), round);
    // On slow storage there is time for few of them, or for none.
    const auto planned = (*session)->plan(options, static_cast<int>(ids.size()));
    const Duration left = start + budget - WallClock::instance().now();
    if (!planned.ok() || (*planned)->infeasible || (*planned)->plan.predicted.expected > left) return;
    const auto answer = (*session)->run(options, ids, std::vector<int32_t>(ids.size(), 0));
    if (answer.ok()) continue;
    spdlog::warn("calibration: a request failed: {}", answer.error().message);
    return;
  }
}

}  // namespace tessera::calibration
