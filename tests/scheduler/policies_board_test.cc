// Every policy under the real replay: STI's board through a session, and random budgets on a board short of memory.
#include <map>

#include <gtest/gtest.h>

#include "configs/loader.h"
#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {

void register_policies();

namespace {

std::string config(const std::string& path) { return std::string(TESSERA_SOURCE_DIR) + "/configs/" + path; }

// A described model on a described machine, in virtual time.
struct Board {
  ModelShape shape;
  AccuracyModel accuracy;
  Machine machine;
  std::unique_ptr<Session> session;

  static Board open(const std::string& platform, bool real_sizes = false) {
    register_policies();
    Board board;
    board.shape = load_shape(config("models/bert-base.toml")).take();
    if (real_sizes) {
      board.shape.exit_bytes.assign(12, Bytes{1'200'128});
      board.shape.row_block = Bytes{4096};
      board.shape.resident_bytes = Bytes{300'000};
      board.shape.depths.insert(board.shape.depths.begin(), {1, 2});
    }
    board.accuracy = random_importance(board.shape, 1);
    board.machine = load_platform(config("platforms/" + platform), board.shape).take();
    return board;
  }
  Session& open_session() {
    session = Session::open(shape, nullptr, accuracy, machine, Bytes{0}).take();
    return *session;
  }
};

RequestOptions sti(int64_t latency_ms) {
  RequestOptions options;
  options.policy = "sti";
  options.budgets.latency = milliseconds(latency_ms);
  options.budgets.preload = mib(8);
  options.quantile = 0.5;
  return options;
}

std::map<int, int> histogram(const Plan& plan) {
  std::map<int, int> out;
  for (const Bits bits : plan.bits)
    if (bits != kAbsent) ++out[bits];
  return out;
}

struct Published {
  int64_t latency_ms;
  const char* size;
  std::map<int, int> bits;
};

// STI, sections 4 and 5, with the prototype's constants (configs/platforms/sti-board.toml).
TEST(PoliciesOnStiBoard, StiPlansThePublishedSubmodels) {
  const Published all[] = {{150, "3x3", {{6, 7}, {32, 2}}},      {200, "4x3", {{6, 9}, {32, 3}}},
                           {300, "7x3", {{6, 15}, {32, 6}}},     {400, "9x3", {{6, 19}, {32, 8}}},
                           {600, "12x3", {{6, 24}, {32, 12}}},   {1000, "12x7", {{6, 64}, {32, 20}}},
                           {1428, "12x12", {{6, 118}, {32, 26}}}};
  for (const Published& want : all) {
    Board board = Board::open("sti-board.toml");
    Session& session = board.open_session();
    const RequestOptions options = sti(want.latency_ms);
    ASSERT_TRUE(session.preload(options, 128).ok());
    const auto planned = session.plan(options, 128);
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    ASSERT_FALSE((*planned)->infeasible) << (*planned)->infeasible->why;
    const Plan& plan = (*planned)->plan;
    EXPECT_EQ(std::to_string(plan.depth) + "x" + std::to_string(plan.width()), want.size) << want.latency_ms << " ms";
    EXPECT_EQ(histogram(plan), want.bits) << want.latency_ms << " ms";
    EXPECT_LE(plan.predicted.latency, options.budgets.latency);
    for (const ShardId id : plan.keep) EXPECT_EQ(id.layer, 0);
    EXPECT_EQ(session.residency().total(), Bytes{442'368 * static_cast<int64_t>(plan.keep.size())});
  }
}

// What 1.1.10 of the systems' notes ranks: equal rules, so like is compared with like.
TEST(PoliciesOnStiBoard, BaselinesRunSmallerSubmodelsThanStiInTheSameTime) {
  const auto shards = [](const char* policy, Bits bits) {
    Board board = Board::open("sti-board.toml");
    Session& session = board.open_session();
    RequestOptions options = sti(1428);
    options.policy = policy;
    if (options.policy != "sti") options.bits = bits;
    EXPECT_TRUE(session.preload(options, 128).ok());
    const auto planned = session.plan(options, 128);
    EXPECT_TRUE(planned.ok() && !(*planned)->infeasible);
    return (*planned)->plan.depth * (*planned)->plan.width();
  };
  EXPECT_EQ(shards("sti", kExact), 144);
  EXPECT_EQ(shards("preload", kExact), 144);
  EXPECT_LT(shards("std-pipeline", kExact), 144);
  EXPECT_LT(shards("std-pipeline", 6), 144) << "layer 0 is waited for";
  EXPECT_LT(shards("load-exec", kExact), shards("std-pipeline", kExact));
  EXPECT_LT(shards("load-exec", kExact), shards("load-exec", 2));
}

class PoliciesOnSmallBoard : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Registered, PoliciesOnSmallBoard,
                         ::testing::Values("adversarial", "load-exec", "preload", "std-pipeline", "sti"),
                         [](const auto& param) { return param.param.substr(0, 3); });

// A session reports an illegal, late or oversized plan as an error, so that planning without one is the property.
TEST_P(PoliciesOnSmallBoard, PlanWithinRandomBudgetsOrNameTrueOnes) {
  Board board = Board::open("small-board.toml", true);
  uint64_t state = 12345;
  const auto below = [&](int64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(n));
  };
  int plans = 0, infeasible = 0;
  for (int i = 0; i < 200; ++i) {
    RequestOptions options;
    options.policy = GetParam();
    options.budgets.latency = milliseconds(5 + below(below(2) == 0 ? 80 : 3000));
    options.budgets.memory = kib(800 + below(below(2) == 0 ? 2000 : 30'000));
    options.budgets.preload = kib(below(3) == 0 ? 0 : below(8000));
    options.quantile = below(2) == 0 ? 0.5 : 0.95;
    options.seed = static_cast<uint64_t>(i);
    const int tokens = static_cast<int>(1 + below(200));
    const auto planned = [&]() -> Result<std::shared_ptr<const PlannedRequest>> {
      Session& session = board.open_session();
      TESSERA_TRY(session.preload(options, tokens));
      return session.plan(options, tokens);
    };
    const auto first = planned();
    ASSERT_TRUE(first.ok()) << "request " << i << ": " << first.error().message;
    if (!(*first)->infeasible) {
      ++plans;
      continue;
    }
    ++infeasible;
    const Infeasible nearest = *(*first)->infeasible;
    const Budgets given = options.budgets;
    std::vector<Budgets> named{{nearest.both_latency, nearest.both_memory, given.preload}};
    if (nearest.latency) named.push_back({*nearest.latency, given.memory, given.preload});
    if (nearest.memory) named.push_back({given.latency, *nearest.memory, given.preload});
    for (const Budgets& budgets : named) {
      options.budgets = budgets;
      const auto again = planned();
      ASSERT_TRUE(again.ok()) << "request " << i << ": " << again.error().message;
      EXPECT_FALSE((*again)->infeasible) << "request " << i << ": " << (*again)->infeasible->why;
    }
  }
  EXPECT_GT(plans, 40);
  EXPECT_GT(infeasible, 40);
}

}  // namespace
}  // namespace tessera
