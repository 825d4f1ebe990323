// Serves sequences whose every instant and byte is known by construction: queueing, caching, who gives way, what is
// reclaimed.
#include "sequence_rig.h"

namespace tessera {
namespace {

using testing::at;
using testing::Script;
using testing::script_caching;
using testing::SequenceRig;

// What a request of the rig's model takes: 9 pages of rows, 4 layers of 128 pages (4 exact slices of 32), the last one's
// compute of 40 us; a page takes a microsecond.
constexpr Duration kCold = microseconds(9 + 4 * 128 + 40);
// With the first layer in memory.
constexpr Duration kWarm = microseconds(9 + 3 * 128 + 40);
constexpr Bytes kShard = kib(128);

TEST(Sequence, ARequestThatFindsTheMachineBusyWaitsAndHasThatMuchLess) {
  SequenceRig rig;
  script_caching(4, 4);
  rig.workload.apps[0].arrivals = at({{}, microseconds(100), milliseconds(50)});
  rig.models[0].options.budgets.latency = milliseconds(2);
  const SequenceReport report = rig.run();
  ASSERT_EQ(report.served.size(), 3u);
  const Served &first = report.served[0], &second = report.served[1], &third = report.served[2];
  EXPECT_EQ(first.latency, kCold);
  EXPECT_EQ(first.planned_for, milliseconds(2));
  EXPECT_EQ(second.start, first.end);
  EXPECT_EQ(second.end, second.start + kCold);
  EXPECT_EQ(second.latency, second.end - microseconds(100));
  // 2 ms less the wait of 461 us, on a grid of 10 us.
  EXPECT_EQ(second.planned_for, microseconds(1530));
  EXPECT_EQ(third.start, milliseconds(50));
  EXPECT_EQ(third.planned_for, milliseconds(2));
  EXPECT_EQ(report.missed, 0);
  EXPECT_EQ(report.ended, third.end);
}

TEST(Sequence, ServesByArrivalThenByAppThenByIndex) {
  SequenceRig rig(2);
  script_caching(1, 1);
  rig.workload.apps[0].arrivals = at({microseconds(10), microseconds(10)});
  rig.workload.apps[1].arrivals = at({{}, microseconds(10)});
  std::vector<std::pair<int, int>> order;
  for (const Served& served : rig.run().served) order.emplace_back(served.app, served.index);
  EXPECT_EQ(order, (std::vector<std::pair<int, int>>{{1, 0}, {0, 0}, {0, 1}, {1, 1}}));
}

TEST(Sequence, RequestsCarryTheSentencesInTurn) {
  SequenceRig rig;
  script_caching(1, 1);
  rig.models[0].tokens = {4, 8, 16};
  rig.workload.apps[0].arrivals = at({{}, {}, {}, {}});
  const SequenceReport report = rig.run();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(report.served[i].sentence, static_cast<int>(i % 3));
    EXPECT_EQ(report.served[i].tokens, rig.models[0].tokens[i % 3]);
  }
}

TEST(Sequence, OneWithNothingLeftIsDroppedOrAnsweredLate) {
  SequenceRig rig;
  script_caching(4, 4);
  rig.models[0].options.budgets.latency = kCold + microseconds(12);
  rig.workload.apps[0].arrivals = at({{}, {}, {}});
  rig.workload.hopeless = Workload::Hopeless::kDrop;
  const SequenceReport dropped = rig.run();
  EXPECT_EQ(dropped.missed, 2);
  EXPECT_EQ(dropped.dropped, 2);
  EXPECT_EQ(dropped.ended, kCold);
  EXPECT_FALSE(dropped.served[2].answered);
  EXPECT_TRUE(dropped.served[2].ran.bits.empty());
  EXPECT_EQ(dropped.served[2].end, dropped.served[2].start);
  EXPECT_EQ(dropped.served[1].planned_for, microseconds(10));
  ASSERT_NE(dropped.served[1].planned, nullptr);
  EXPECT_EQ(dropped.served[1].planned->infeasible->latency, kCold);

  rig.workload.hopeless = Workload::Hopeless::kBestEffort;
  const SequenceReport late = rig.run();
  EXPECT_EQ(late.missed, 2);
  EXPECT_EQ(late.dropped, 0);
  EXPECT_EQ(late.infeasible, 2);
  EXPECT_EQ(late.served[2].planned_for, Duration{});
  EXPECT_EQ(late.served[2].latency, 3 * kCold);
  EXPECT_EQ(late.served[2].ran.depth, 4);
}

TEST(Sequence, WhatAPolicyKeepsIsReadOnce) {
  SequenceRig rig;
  script_caching(4, 4);
  rig.models[0].options.budgets.preload = kShard * 5;
  rig.workload.apps[0].arrivals = at({{}, milliseconds(5), milliseconds(10)});
  const SequenceReport report = rig.run();
  EXPECT_EQ(report.served[0].io - report.served[1].io, kShard * 5 + kib(8));
  EXPECT_EQ(report.served[1].io, report.served[2].io);
  EXPECT_TRUE(report.served[2].reused);
  EXPECT_EQ(report.io, report.served[0].io + report.served[1].io + report.served[2].io);
  // Again from the start: buffers are empty.
  EXPECT_EQ(rig.run().served[0].io, report.served[0].io);
}

TEST(Sequence, AnIdleAppLosesItsBuffer) {
  SequenceRig rig;
  script_caching(4, 4);
  rig.models[0].options.budgets.preload = kShard * 5;
  rig.workload.apps[0].reclaimed_after = milliseconds(10);
  const Duration second = kCold + milliseconds(10) - nanoseconds(1);
  rig.workload.apps[0].arrivals = at({{}, second, second + milliseconds(20)});
  const SequenceReport report = rig.run();
  EXPECT_LT(report.served[1].io, report.served[0].io);
  EXPECT_EQ(report.served[2].io, report.served[0].io);
  EXPECT_EQ(report.reclaimed, 1);
  // With nothing to do it loses it at once; the one that waits finds it.
  rig.workload.apps[0].reclaimed_after = Duration{};
  rig.workload.apps[0].arrivals = at({{}, microseconds(1), milliseconds(20)});
  const SequenceReport cold = rig.run();
  EXPECT_LT(cold.served[1].io, cold.served[0].io);
  EXPECT_EQ(cold.served[2].io, cold.served[0].io);
}

TEST(Sequence, PreloadsBeforeTheFirstRequest) {
  SequenceRig rig;
  script_caching(4, 4);
  rig.models[0].options.budgets.preload = kShard * 4;
  rig.workload.apps[0].preloaded = true;
  rig.workload.apps[0].arrivals = at({{}});
  const SequenceReport report = rig.run();
  EXPECT_EQ(report.served[0].latency, kWarm);
}

// Three apps, each of which keeps its first layer (4 shards) and an exit head (8 KiB). None is preloaded, and time is for
// warm requests only: the first of each app is late, the others need their prefetch, and so the memory for it.
struct Sharing : SequenceRig {
  Sharing() : SequenceRig(3) {
    script_caching(4, 4);
    for (SequenceModel& model : models) {
      model.options.budgets.preload = kShard * 4;
      model.options.budgets.latency = kWarm;
    }
    workload.apps[0].arrivals = at({{}, milliseconds(30), milliseconds(40)});
    workload.apps[1].arrivals = at({milliseconds(10)});
    workload.apps[2].arrivals = at({milliseconds(20)});
  }
  // Shards that an app still holds.
  size_t held(size_t app) const { return sessions[app]->residency().shards.size(); }
};

TEST(Sequence, OthersKeepTheirBuffersWhereThereIsRoom) {
  Sharing rig;
  const SequenceReport free = rig.run();
  EXPECT_EQ(free.served[0].memory, kUnlimited);
  rig.options.memory = free.peak;
  const SequenceReport report = rig.run();
  EXPECT_EQ(report.evicted, Bytes{});
  EXPECT_EQ(report.missed, 3);
  EXPECT_EQ(report.peak, free.peak);
  EXPECT_EQ(report.served[3].memory, free.peak - (kib(16) + kShard * 4 + kib(8)) * 2);
  for (size_t app = 0; app < 3; ++app) EXPECT_EQ(rig.held(app), 4u);
}

TEST(Sequence, TheLeastRecentlyUsedModelGivesWayFirstAndFromTheTop) {
  Sharing rig;
  const Bytes enough = rig.run().peak;
  rig.options.memory = enough - kib(1);  // less than a shard too little
  const SequenceReport one = rig.run();
  EXPECT_EQ(one.served[3].evicted, kShard);
  EXPECT_EQ(one.served[4].evicted, Bytes{});
  EXPECT_EQ(rig.held(1), 3u);  // app 1 was used before app 2
  EXPECT_EQ(rig.sessions[1]->residency().find({0, 3}), nullptr);
  EXPECT_EQ(rig.held(2), 4u);
}

TEST(Sequence, TheNextModelGivesWayWhereOneIsNotEnough) {
  Sharing rig;
  rig.models[1].options.budgets.preload = kShard * 2;
  rig.options.memory = rig.run().peak - kShard * 2 - kib(8) - kib(1);
  const SequenceReport report = rig.run();
  EXPECT_EQ(report.served[3].evicted, kShard * 3 + kib(8));
  EXPECT_EQ(rig.held(1), 0u);
  EXPECT_TRUE(rig.sessions[1]->residency().exits.empty());
  EXPECT_EQ(rig.held(2), 3u);
  EXPECT_EQ(report.missed, 3);
  EXPECT_EQ(report.peak, rig.options.memory - kShard + kib(1));
}

TEST(Sequence, NobodyGivesWayWhereItWouldNotHelp) {
  Sharing rig;
  rig.options.memory = rig.run().peak - kib(1);
  rig.workload.hopeless = Workload::Hopeless::kDrop;
  rig.models[0].options.budgets.latency = kWarm - nanoseconds(1);  // hopeless in any memory
  for (const size_t app : {1, 2}) rig.models[app].options.budgets.latency = kCold;
  const SequenceReport report = rig.run();
  EXPECT_EQ(report.dropped, 3);
  EXPECT_EQ(report.evicted, Bytes{});
  EXPECT_EQ(rig.held(1) + rig.held(2), 8u);
}

TEST(Sequence, MemoryThatNoRequestFitsInIsAMissAndNotAnError) {
  Sharing rig;
  for (const Bytes memory : {Bytes{}, kib(40), kib(100)}) {
    rig.options.memory = memory;
    const SequenceReport report = rig.run();
    EXPECT_EQ(report.dropped, 5) << to_string(memory);
    EXPECT_EQ(report.missed, 5);
    EXPECT_NE(report.served[0].planned->infeasible, std::nullopt);
  }
}

TEST(Sequence, AWorkloadsOwnMemoryGoesFirst) {
  Sharing rig;
  rig.options.memory = {};
  rig.workload.memory = kUnlimited;
  EXPECT_EQ(rig.run().dropped, 0);
}

TEST(Sequence, AnAppHasItsOwnBudgetsOrAShareOfTheExperiments) {
  RequestOptions experiment;
  experiment.budgets = {milliseconds(20), mib(8), mib(1)};
  WorkloadApp app;
  EXPECT_EQ(app_options(app, experiment).budgets.latency, milliseconds(20));
  app.latency_percent = 250;
  app.preload = mib(3);
  EXPECT_EQ(app_options(app, experiment).budgets.latency, milliseconds(50));
  EXPECT_EQ(app_options(app, experiment).budgets.preload, mib(3));
  app.latency = milliseconds(7);
  EXPECT_EQ(app_options(app, experiment).budgets.latency, milliseconds(7));
  app.latency.reset();
  experiment.budgets.latency = kForever;
  EXPECT_EQ(app_options(app, experiment).budgets.latency, kForever);
}

TEST(Sequence, PlanningCostsVirtualTimeOnlyWhereItIsAskedFor) {
  SequenceRig rig;
  script_caching(4, 4);
  rig.workload.apps[0].arrivals = at({{}});
  const SequenceReport plain = rig.run();
  EXPECT_GT(plain.served[0].planning, Duration{});
  EXPECT_EQ(plain.served[0].latency, kCold);
  rig.options.count_planning = true;
  rig.models[0].options.seed = 1;  // a plan of its own
  const SequenceReport counted = rig.run();
  EXPECT_EQ(counted.served[0].latency, kCold + counted.served[0].planning);
}

TEST(Sequence, AnIllegalPlanEndsItAndIsNamed) {
  SequenceRig rig;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = testing::plain_plan(view.shape, 4, 4, 6);
    plan.loads.clear();
    return Decision{plan};
  };
  rig.workload.apps[0].arrivals = at({{}});
  const auto report = run_sequence(rig.workload, rig.models, rig.options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kInternal);
  EXPECT_NE(report.error().message.find("scripted"), std::string::npos) << report.error().message;
}

TEST(Sequence, WhatDoesNotFitTogetherIsNamed) {
  SequenceRig rig(2);
  script_caching(1, 1);
  const auto message = [&] {
    const auto report = run_sequence(rig.workload, rig.models, rig.options);
    return report.ok() ? "" : report.error().message;
  };
  rig.models[1].tokens.clear();
  EXPECT_EQ(message(), "workload test: app app1: no sentence: neither a data set nor a number of tokens");
  rig.models[1] = rig.models[0];
  EXPECT_EQ(message(), "workload test: app app1: shares its session with app app0; open one for each");
  rig.models.pop_back();
  EXPECT_EQ(message(), "workload test: 1 models for 2 apps");
  rig.workload.apps.pop_back();
  rig.models[0].session = nullptr;
  EXPECT_EQ(message(), "workload test: app app0: has no session");
  rig.models[0].session = rig.sessions[0].get();
  rig.workload.apps[0].arrivals.burst_most = 0;
  EXPECT_NE(message().find("arrivals run backwards"), std::string::npos);
  rig.workload.apps.clear();
  EXPECT_EQ(message(), "workload test: has no app");
}

TEST(Sequence, EndsWhereItIsCancelled) {
  SequenceRig rig;
  script_caching(1, 1);
  rig.workload.apps[0].arrivals = at({{}});
  const std::atomic<bool> cancel{true};
  rig.options.cancel = &cancel;
  const auto report = run_sequence(rig.workload, rig.models, rig.options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace tessera
