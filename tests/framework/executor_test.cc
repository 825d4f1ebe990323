// Tests the rules of execution and of failure that both executors keep (framework/executor.h).
#include "framework/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/framework/graphs.h"
#include "tests/framework/scripted_backend.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
constexpr TaskState kEnded = TaskState::kDone, kFailed = TaskState::kFailed, kCancelled = TaskState::kCancelled;

enum class Kind { kWall, kVirtual, kSimulated };

class ExecutorRules : public testing::TestWithParam<Kind> {
 protected:
  RunReport run(const TaskGraph& graph) { return executor_->run(graph, &binder_, limits_); }

  ScriptedBackend backend_;
  RecordingBinder binder_;
  RunLimits limits_;
  SimulatedMachine machine_{{}, 7};
  std::unique_ptr<Executor> executor_ =
      GetParam() == Kind::kWall ? make_wall_executor(std::vector<DeviceBinding>(7, {&backend_, 0}))
                                : make_virtual_executor(nullptr, GetParam() == Kind::kSimulated ? &machine_ : nullptr);
};

INSTANTIATE_TEST_SUITE_P(, ExecutorRules, testing::Values(Kind::kWall, Kind::kVirtual, Kind::kSimulated),
                         [](const auto& kind) {
                           return kind.param == Kind::kWall      ? "Wall"
                                  : kind.param == Kind::kVirtual ? "Virtual"
                                                                 : "Simulated";
                         });

TEST_P(ExecutorRules, AnEmptyGraphIsDone) {
  const RunReport report = run(make_graph({}));
  EXPECT_TRUE(report.status.ok());
  EXPECT_TRUE(report.tasks.empty());
}

TEST_P(ExecutorRules, EveryTaskRunsOnceAfterItsPredecessors) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const RandomGraph g = random_graph(seed, false);
    RecordingBinder binder;
    const RunReport report = executor_->run(g.graph, &binder, {});
    ASSERT_TRUE(report.status.ok()) << seed << report.status.error().message;
    ASSERT_TRUE(binder.balanced()) << seed;
    std::vector<size_t> place(g.graph.size());
    for (size_t i = 0; i < binder.order.size(); ++i) place[binder.order[i]] = i;
    for (TaskId id = 0; id < g.graph.size(); ++id) {
      for (const TaskId next : g.graph.successors(id)) {
        ASSERT_LT(place[id], place[next]) << "seed " << seed;
        ASSERT_LE(report.tasks[id].end, report.tasks[next].start) << "seed " << seed;
      }
    }
  }
}

TEST_P(ExecutorRules, LanesKeepPlanOrder) {
  const TaskGraph graph = make_graph({{0, 3}, {0, 1}, {0, 2}, {0, 1}});
  ASSERT_TRUE(run(graph).status.ok());
  EXPECT_THAT(binder_.order, ElementsAre(0, 1, 2, 3));
}

TEST_P(ExecutorRules, PeakCountsWhatIsHeldAndReserved) {
  limits_.capacity = {Bytes{10}};
  limits_.held = {Bytes{3}};
  const RunReport report = run(make_graph({{0, 1, {}, 4}, {0, 1, {0}, 2, 6}, {0, 1, {1}, 5, 5}}));
  ASSERT_TRUE(report.status.ok());
  EXPECT_THAT(report.peak, ElementsAre(Bytes{9}));
}

TEST_P(ExecutorRules, AFailedTaskCancelsWhatDependsOnItAndNothingElse) {
  // 1 fails; 3 and 4 depend on it, 4 only through 3; 0, 2 and 5 do not.
  binder_.fail = {1};
  const RunReport report = run(make_graph({{0, 1}, {1, 1}, {0, 1, {0}}, {2, 1, {1, 0}}, {0, 1, {3}}, {0, 1, {2}}}));
  EXPECT_THAT(states(report), ElementsAre(kEnded, kFailed, kEnded, kCancelled, kCancelled, kEnded));
  ASSERT_FALSE(report.status.ok());
  EXPECT_EQ(report.status.error().code, ErrorCode::kDevice);
  EXPECT_EQ(report.status.error().message, "task 1 'layer L0' on device 1: no buffer");
  EXPECT_TRUE(binder_.balanced());
  EXPECT_THAT(binder_.ends[1], ElementsAre(kFailed));
  EXPECT_FALSE(binder_.bound.contains(3));
}

TEST_P(ExecutorRules, ReservationsOfFailedAndCancelledTasksComeBack) {
  // 0 takes all; 1, which would give it back, is cancelled as 2's dependant; 4 needs all of it.
  limits_.capacity = {Bytes{8}};
  binder_.fail = {1};
  const RunReport report = run(make_graph({{0, 1, {}, 8}, {1, 1}, {1, 1, {0, 1}, 0, 8}, {0, 1, {0}, 8, 8}}));
  EXPECT_THAT(states(report), ElementsAre(kEnded, kFailed, kCancelled, kEnded));
  EXPECT_THAT(report.status.error().message, HasSubstr("no buffer"));
}

TEST_P(ExecutorRules, AFailedTaskGivesBackItsOwnReservation) {
  limits_.capacity = {Bytes{8}};
  binder_.fail = {0};
  EXPECT_THAT(states(run(make_graph({{0, 1, {}, 8, 8}, {1, 1, {}, 8, 8}}))), ElementsAre(kFailed, kEnded));
}

TEST_P(ExecutorRules, ACancelledReservationPassesItsTurnOn) {
  // 1 never takes its 8 bytes, so 3 must not wait for 2 to give them back; 3's turn comes although 1's never did.
  limits_.capacity = {Bytes{8}};
  binder_.fail = {0};
  EXPECT_THAT(states(run(make_graph({{0, 1}, {0, 1, {0}, 8}, {1, 1, {1}, 0, 8}, {2, 1, {}, 8, 8}}))),
              ElementsAre(kFailed, kCancelled, kCancelled, kEnded));
}

TEST_P(ExecutorRules, ACancelledTaskGivesBackOnlyWhatWasTaken) {
  // 0 holds 6 of 8 until 4. 2 is cancelled without ever taking its 6, 3 gives them "back"; 5 (6 bytes) still waits for 4.
  limits_.capacity = {Bytes{8}};
  binder_.fail = {1};
  const RunReport report =
      run(make_graph({{0, 1, {}, 6}, {1, 1}, {1, 1, {1}, 6}, {1, 1, {2}, 0, 6}, {0, 1, {0}, 0, 6}, {2, 1, {}, 6, 6}}));
  EXPECT_THAT(states(report), ElementsAre(kEnded, kFailed, kCancelled, kCancelled, kEnded, kEnded));
  EXPECT_GE(report.tasks[5].start, report.tasks[4].end);
  EXPECT_THAT(report.peak, ElementsAre(Bytes{6}));
}

TEST_P(ExecutorRules, ACancelBeforeTheStartCancelsEverything) {
  const std::atomic<bool> cancel{true};
  limits_.cancel = &cancel;
  const RunReport report = run(make_graph({{0, 1}, {1, 1, {0}, 4}, {0, 1, {1}, 0, 4}}));
  EXPECT_THAT(states(report), ElementsAre(kCancelled, kCancelled, kCancelled));
  EXPECT_EQ(report.status.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(binder_.bound.empty());
}

TEST_P(ExecutorRules, ACancelWhileTasksWaitCancelsOnlyThose) {
  std::atomic<bool> cancel{false};
  limits_.cancel = &cancel;
  binder_.on_bind = [&](TaskId id) { cancel = id == 1; };
  const RunReport report = run(make_graph({{0, 1}, {0, 1, {0}}, {1, 1, {1}}, {0, 1, {1}}}));
  EXPECT_THAT(states(report), ElementsAre(kEnded, kEnded, kCancelled, kCancelled));
  EXPECT_EQ(report.status.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(binder_.balanced());
}

TEST_P(ExecutorRules, ACancelAfterTheLastTaskChangesNothing) {
  std::atomic<bool> cancel{false};
  limits_.cancel = &cancel;
  binder_.on_bind = [&](TaskId id) { cancel = id == 1; };
  EXPECT_TRUE(run(make_graph({{0, 1}, {0, 1}})).status.ok());
}

TEST_P(ExecutorRules, NoProgressNamesTheFirstStuckTaskAndTheNumbers) {
  limits_.capacity = {kUnlimited, mib(4)};
  limits_.held = {Bytes{0}, mib(1)};
  const RunReport report = run(make_graph({{0, 1, {}, 2 << 20, 0, 1}, {1, 1, {}, 2 << 20, 0, 1}, {0, 1, {1}}, {2, 1}}));
  ASSERT_FALSE(report.status.ok());
  EXPECT_EQ(report.status.error().code, ErrorCode::kInfeasible);
  EXPECT_EQ(
      report.status.error().message,
      "task 1 'layer L0' on device 1: no progress: needs 2.0 MiB of memory 1, 1.0 MiB free of 4.0 MiB, and nothing runs "
      "that would free more; raise --memory");
  EXPECT_THAT(states(report), ElementsAre(kEnded, kCancelled, kCancelled, kEnded));
}

TEST_P(ExecutorRules, RunsAgainAfterAFailure) {
  const TaskGraph graph = make_graph({{0, 1, {}, 8}, {1, 1, {0}, 0, 8}});
  limits_.capacity = {Bytes{8}};
  binder_.fail = {0};
  EXPECT_FALSE(run(graph).status.ok());
  RecordingBinder fresh;
  const RunReport again = executor_->run(graph, &fresh, limits_);
  EXPECT_TRUE(again.status.ok());
  EXPECT_THAT(fresh.order, ElementsAre(0, 1));
}

// The state that each task must end in when `fail` fail: reached through successors only.
std::vector<TaskState> expected_states(const TaskGraph& graph, const std::set<TaskId>& fail) {
  std::vector<TaskState> expected(graph.size(), kEnded);
  for (TaskId id = 0; id < graph.size(); ++id) {
    if (expected[id] == kEnded && fail.contains(id)) expected[id] = kFailed;
    if (expected[id] == kEnded) continue;
    for (const TaskId next : graph.successors(id)) expected[next] = kCancelled;
  }
  return expected;
}

TEST_P(ExecutorRules, FailuresSpreadExactlyAlongEdgesOnRandomGraphs) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const RandomGraph g = random_graph(seed, false);
    RecordingBinder binder;
    for (TaskId id = 0; id < g.graph.size(); ++id)
      if ((seed * 2654435761u + id * 40503u) % 9 == 0) binder.fail.insert(id);
    const RunReport report = executor_->run(g.graph, &binder, {});
    ASSERT_EQ(states(report), expected_states(g.graph, binder.fail)) << "seed " << seed;
    ASSERT_TRUE(binder.balanced()) << "seed " << seed;
  }
}

TEST_P(ExecutorRules, FailuresUnderTightMemoryNeverHangNorLoseAnEnd) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const RandomGraph g = random_graph(seed, true);
    RecordingBinder binder;
    binder.fail = {static_cast<TaskId>(seed % g.graph.size())};
    RunLimits limits;
    limits.capacity = g.capacity;
    limits.held = g.held;
    const RunReport report = executor_->run(g.graph, &binder, limits);
    ASSERT_TRUE(binder.balanced()) << "seed " << seed;
    for (const TaskState state : states(report)) ASSERT_NE(state, TaskState::kWaiting) << "seed " << seed;
    for (size_t m = 0; m < g.capacity.size(); ++m) ASSERT_LE(report.peak[m], g.capacity[m]) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tessera
