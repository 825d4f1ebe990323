// What re-planning in flight is for: deadlines on a board whose flash swings by half its bandwidth, through a session.
#include <gtest/gtest.h>

#include "configs/loader.h"
#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {

void register_policies();

namespace {

struct Outcome {
  int requests = 0, missed = 0;
  int64_t loss = 0;  // of what was executed, summed
};

// One cold request after the other on sti-board-swing.
Outcome serve(const std::string& policy, const Knobs& knobs, Duration latency, int requests) {
  register_policies();
  const std::string configs = std::string(TESSERA_SOURCE_DIR) + "/configs/";
  const ModelShape shape = load_shape(configs + "models/bert-base.toml").take();
  const AccuracyModel accuracy = random_importance(shape, 1);
  Machine machine = load_platform(configs + "platforms/sti-board-swing.toml", shape).take();
  const auto session = Session::open(shape, nullptr, accuracy, machine, Bytes{0}).take();
  RequestOptions options;
  options.policy = policy;
  options.knobs = knobs;
  options.budgets.latency = latency;
  const std::vector<int32_t> ids(128, 1);
  Outcome out;
  for (int i = 0; i < requests; ++i) {
    options.draw = static_cast<uint64_t>(i);
    const Result<Answer> answer = session->run(options, ids, ids);
    EXPECT_TRUE(answer.ok()) << answer.error().message;
    if (!answer.ok() || answer->executed == nullptr) continue;
    ++out.requests;
    out.missed += answer->late > Duration{};
    const Plan& ran = answer->executed->plan;
    out.loss += accuracy.loss(ran.depth, ran.bits).n;
    options.starts_at += answer->latency + milliseconds(137);
  }
  return out;
}

TEST(ElasticSwing, MissesAtMostOneDeadlineInAHundredWhereBandwidthSwingsByHalf) {
  Outcome elastic, left_alone, sti;
  const auto add = [](Outcome& sum, const Outcome& more) {
    sum = {sum.requests + more.requests, sum.missed + more.missed, sum.loss + more.loss};
  };
  for (const int64_t latency : {428, 1142, 1713}) {
    add(elastic, serve("elastic", {}, milliseconds(latency), 100));
    add(left_alone, serve("elastic", {{"replan", "off"}}, milliseconds(latency), 100));
    add(sti, serve("sti", {}, milliseconds(latency), 100));
  }
  ASSERT_EQ(elastic.requests, 300);
  EXPECT_LE(elastic.missed * 100, elastic.requests);
  EXPECT_GT(left_alone.missed * 10, left_alone.requests) << "without, one in ten at least";
  EXPECT_LT(elastic.loss, sti.loss) << "and still loses less than sti, which misses " << sti.missed;
}

}  // namespace
}  // namespace tessera
