// `optimal` under the real replay: its bound against every policy on random machines, and its gap on the described boards.
#include <chrono>

#include <gtest/gtest.h>

#include "placed_cases.h"

namespace tessera::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kMachines = 40;
#else
constexpr uint64_t kMachines = 600;
#endif

// Machines of one to four devices, with buffers and memories of their own or not, decoded residents, tight memories.
TEST(OptimalOnRandomMachines, NoPolicyGoesBelowItsBound) {
  register_policies();
  int compared = 0, proven = 0, plans = 0;
  for (uint64_t seed = 1; seed <= kMachines; ++seed) {
    const Asked asked = drawn(seed);
    const Result<Decision> decision = asked.decide("optimal");
    if (!decision.ok()) {  // there is no room for the smallest submodel in any of its memories
      ASSERT_EQ(decision.error().code, ErrorCode::kInfeasible) << "machine " << seed << ": " << decision.error().message;
    }
    const Plan* best = decision.ok() ? std::get_if<Plan>(&*decision) : nullptr;
    if (best != nullptr) {
      ++plans;
      ASSERT_LE(asked.latency(*best), asked.budgets.latency) << "machine " << seed;
      if (best->loss_bound) proven += best->loss_bound->n == asked.accuracy.loss(best->depth, best->bits).n;
    }
    for (const auto& entry : policies().entries()) {
      if (entry.name == "scripted") continue;  // the tests' own
      const Result<Decision> other = asked.decide(entry.name);
      const Plan* plan = other.ok() ? std::get_if<Plan>(&*other) : nullptr;
      if (plan == nullptr) continue;
      ASSERT_NE(best, nullptr) << entry.name << " has a plan on machine " << seed;
      if (!best->loss_bound) continue;
      ASSERT_GE(asked.accuracy.loss(plan->depth, plan->bits).n, best->loss_bound->n) << entry.name << ", machine " << seed;
      ++compared;
    }
  }
  std::printf("%d plans of `optimal`, %d proven; %d plans of all policies at or above the bound\n", plans, proven, compared);
  EXPECT_GT(compared, static_cast<int>(kMachines));
}

Asked board(const std::string& platform) {
  Asked asked;
  asked.shape = load_shape(config("models/bert-base.toml")).take();
  asked.accuracy = random_importance(asked.shape, 1);
  Machine machine = load_platform(config("platforms/" + platform), asked.shape).take();
  asked.platform = machine.platform;
  asked.costs = machine.costs;
  for (size_t d = 0; d < asked.platform.devices.size(); ++d)
    if (computes(asked.platform.devices[d].kind)) asked.devices.push_back(static_cast<DeviceId>(d));
  return asked;
}

// The loss of a plan in nats per budget; what is printed is the report's gap column. Times are printed, never asserted.
void print_gaps(const std::string& platform, const std::vector<int64_t>& latencies_us) {
  for (const int64_t latency : latencies_us) {
    Asked asked = board(platform);
    asked.budgets.latency = microseconds(latency);
    const auto start = std::chrono::steady_clock::now();
    const Result<Decision> decision = asked.decide("optimal");
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    ASSERT_TRUE(decision.ok()) << decision.error().message;
    const Plan* plan = std::get_if<Plan>(&*decision);
    ASSERT_NE(plan, nullptr) << platform << " at " << latency << " us";
    ASSERT_TRUE(plan->loss_bound);
    const int64_t loss = asked.accuracy.loss(plan->depth, plan->bits).n;
    EXPECT_LE(plan->loss_bound->n, loss);
    std::printf(
        "%-17s %8.1f ms: %2d layers of at most %2d, %4.1f bits; loss %7.4f, bound %7.4f nats, gap %4.1f %%; %4.0f ms\n",
        platform.c_str(), static_cast<double>(latency) / 1e3, plan->depth, plan->width(), plan->mean_bits(),
        static_cast<double>(loss) / 1e6, static_cast<double>(plan->loss_bound->n) / 1e6,
        loss == 0 ? 0.0 : 100.0 * static_cast<double>(loss - plan->loss_bound->n) / static_cast<double>(loss), ms);
  }
}

TEST(OptimalOnBoards, ProvesItsPlansOnStiBoard) {
  for (const int64_t latency : {150, 200, 300, 400, 600, 1000, 1428, 2500}) {
    Asked asked = board("sti-board.toml");
    asked.budgets.latency = milliseconds(latency);
    const Result<Decision> decision = asked.decide("optimal");
    ASSERT_TRUE(decision.ok());
    const Plan& plan = std::get<Plan>(*decision);
    EXPECT_EQ(plan.loss_bound->n, asked.accuracy.loss(plan.depth, plan.bits).n) << latency << " ms";
    const Result<Decision> published = asked.decide("sti");
    ASSERT_TRUE(published.ok());
    const Plan& sti = std::get<Plan>(*published);
    EXPECT_LE(plan.loss_bound->n, asked.accuracy.loss(sti.depth, sti.bits).n);
  }
  print_gaps("sti-board.toml", {150'000, 200'000, 400'000, 600'000, 1'000'000, 1'428'000, 2'500'000});
}

TEST(OptimalOnBoards, BoundsItsPlansOnBoardsWithOverheadsAndSeveralDevices) {
  print_gaps("small-board.toml", {400'000, 1'000'000, 1'428'000, 2'500'000});
  print_gaps("trio-board.toml", {20'000, 40'000, 80'000, 160'000});
}

}  // namespace
}  // namespace tessera::testing
