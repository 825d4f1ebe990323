// Tests what only real devices can do: fail at submit or at wait, be cancelled, run overdue, never end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/executor.h"
#include "tests/framework/graphs.h"
#include "tests/framework/scripted_backend.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
constexpr TaskState kEnded = TaskState::kDone, kFailed = TaskState::kFailed, kCancelled = TaskState::kCancelled;

class WallExecutor : public testing::Test {
 protected:
  RunReport run(const TaskGraph& graph) { return executor_->run(graph, &binder_, limits_); }

  ScriptedBackend backend_;
  RecordingBinder binder_;
  RunLimits limits_;
  std::unique_ptr<Executor> executor_ = make_wall_executor({{&backend_, 0}, {&backend_, 1}, {&backend_, 2}});
};

TEST_F(WallExecutor, AFailedSubmitFailsTheTask) {
  backend_.script(0, Script::kFailSubmit);
  const RunReport report = run(make_graph({{0, 1}, {1, 1, {0}}, {1, 1}}));
  EXPECT_THAT(states(report), ElementsAre(kFailed, kCancelled, kEnded));
  EXPECT_EQ(report.status.error().message, "task 0 'layer L0' on device 0: queue is full");
  EXPECT_TRUE(binder_.balanced());
}

TEST_F(WallExecutor, AFailedWaitFailsTheTaskAndKeepsItsCode) {
  backend_.script(1, Script::kFailWait);
  const RunReport report = run(make_graph({{0, 1}, {1, 1}, {0, 1, {1}}, {1, 1}}));
  EXPECT_THAT(states(report), ElementsAre(kEnded, kFailed, kCancelled, kEnded));
  EXPECT_EQ(report.status.error().code, ErrorCode::kData);
  EXPECT_EQ(report.status.error().message, "task 1 'layer L0' on device 1: checksum differs");
  EXPECT_TRUE(binder_.balanced());
}

TEST_F(WallExecutor, TasksThatEndLaterReleaseTheirSuccessors) {
  for (TaskId id = 0; id < 4; ++id) backend_.script(id, Script::kLater);
  EXPECT_TRUE(run(make_graph({{0, 1}, {1, 1, {0}}, {2, 1, {1}}, {0, 1, {2}}})).status.ok());
  EXPECT_THAT(binder_.order, ElementsAre(0, 1, 2, 3));
}

TEST_F(WallExecutor, ACancelStopsWhatRunsAtItsBackend) {
  std::atomic<bool> cancel{false};
  limits_.cancel = &cancel;
  backend_.script(0, Script::kUntilCancel);
  backend_.on_submit = [&](TaskId) { cancel = true; };
  const RunReport report = run(make_graph({{0, 1}, {0, 1}, {1, 1, {0}}}));
  EXPECT_THAT(states(report), ElementsAre(kFailed, kCancelled, kCancelled));
  EXPECT_EQ(report.status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(report.status.error().message, "run cancelled on request");
  EXPECT_THAT(backend_.cancelled(), ElementsAre(0));
  EXPECT_TRUE(binder_.balanced());
}

TEST_F(WallExecutor, ACancelReachesALaneThatSleepsForBytes) {
  std::atomic<bool> cancel{false};
  limits_.cancel = &cancel;
  limits_.capacity = {Bytes{8}};
  backend_.script(0, Script::kUntilCancel);
  backend_.on_submit = [&](TaskId) { cancel = true; };
  const RunReport report = run(make_graph({{0, 1, {}, 8, 8}, {1, 1, {}, 8, 8}}));
  EXPECT_THAT(states(report), ElementsAre(kFailed, kCancelled));
}

TEST_F(WallExecutor, AnOverdueTaskThatCanBeCancelledFailsAndItsDeviceGoesOn) {
  limits_.overdue_floor = microseconds(200);
  backend_.script(0, Script::kUntilCancel);
  const RunReport report = run(make_graph({{0, 1000}, {0, 1}, {1, 1, {0}}}));
  EXPECT_THAT(states(report), ElementsAre(kFailed, kEnded, kCancelled));
  EXPECT_EQ(report.status.error().code, ErrorCode::kDevice);
  EXPECT_EQ(report.status.error().message,
            "task 0 'layer L0' on device 0: still running after 201 us (expected 1.00 us); cancelled: stopped");
  EXPECT_THAT(binder_.ends[0], ElementsAre(kFailed));
}

class LostDevice : public WallExecutor {
 protected:
  LostDevice() {
    limits_.overdue_floor = microseconds(200);
    backend_.script(0, Script::kIgnoreCancel);
  }
  void TearDown() override { backend_.let_go(); }
};

TEST_F(LostDevice, TakesNoFurtherTaskWhileOthersGoOn) {
  const RunReport report = run(make_graph({{0, 1}, {0, 1}, {1, 1}, {1, 1, {1}}, {2, 1, {2}}}));
  EXPECT_THAT(states(report), ElementsAre(kFailed, kCancelled, kEnded, kCancelled, kEnded));
  EXPECT_EQ(report.status.error().code, ErrorCode::kDevice);
  EXPECT_THAT(report.status.error().message, HasSubstr("the device takes no further task"));
}

TEST_F(LostDevice, EndsItsTaskAsRunningSoThatItsBuffersStay) {
  run(make_graph({{0, 1}}));
  EXPECT_THAT(binder_.ends[0], ElementsAre(TaskState::kRunning));
}

TEST_F(LostDevice, KeepsItsBytesAccounted) {
  // 2 would give back what 0 took, but the device may still write there: 3 must not get those bytes.
  limits_.capacity = {Bytes{8}};
  const RunReport report = run(make_graph({{0, 1, {}, 8}, {1, 1}, {1, 1, {0}, 0, 8}, {2, 1, {}, 8, 8}}));
  EXPECT_THAT(states(report), ElementsAre(kFailed, kEnded, kCancelled, kCancelled));
}

TEST_F(LostDevice, IsRefusedUntilItsTicketHasEnded) {
  backend_.script(0, Script::kAtOnce);
  backend_.script(3, Script::kIgnoreCancel);
  run(make_graph({{1, 1}, {1, 1}, {1, 1}, {0, 1}}));
  const TaskGraph next = make_graph({{1, 1}, {0, 1}, {1, 1}});
  const RunReport refused = executor_->run(next, nullptr, limits_);
  EXPECT_THAT(states(refused), ElementsAre(kEnded, kCancelled, kEnded));
  EXPECT_EQ(refused.status.error().message, "device 0: still busy with task 3 of an earlier run");
  backend_.let_go();
  EXPECT_TRUE(executor_->run(next, nullptr, limits_).status.ok());
}

TEST_F(WallExecutor, RefusesAGraphWhoseDeviceNothingDrives) {
  const RunReport report = run(make_graph({{0, 1}, {6, 1}}));
  EXPECT_EQ(report.status.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(report.status.error().message, HasSubstr("device 6"));
  EXPECT_THAT(states(report), ElementsAre(kCancelled, kCancelled));
}

TEST_F(WallExecutor, WakesLanesThatWaitForEachOtherThousandsOfTimes) {
  // A ladder: each task waits for the one before it, on another device; every start is a wake-up across lanes.
  TaskGraphBuilder builder;
  for (TaskId id = 0; id < 3000; ++id) {
    builder.add(make_task(id % 3, 0));
    if (id > 0) builder.depend(id, id - 1);
  }
  const TaskGraph graph = builder.build().take();
  for (int round = 0; round < 3; ++round) {
    const RunReport report = executor_->run(graph, nullptr, {});
    ASSERT_TRUE(report.status.ok());
    for (TaskId id = 1; id < graph.size(); ++id) ASSERT_LE(report.tasks[id - 1].end, report.tasks[id].start);
  }
}

// A simulated time that fails or dawdles at chosen tasks.
class Trouble final : public SimulatedTime {
 public:
  std::map<TaskId, Result<Duration>> at;
  Result<Duration> duration(const Task& task) override {
    const auto it = at.find(task.id);
    return it == at.end() ? Result<Duration>(task.planned) : it->second;
  }
};

TEST(VirtualExecutor, TasksLastWhatTheSimulationSays) {
  Trouble trouble;
  trouble.at.emplace(0, nanoseconds(7));
  const RunReport report = make_virtual_executor(&trouble)->run(make_graph({{0, 3}, {1, 2, {0}}}), nullptr, {});
  EXPECT_EQ(report.tasks[1].start, nanoseconds(7));
  EXPECT_EQ(report.makespan, nanoseconds(9));
}

TEST(VirtualExecutor, AFaultOfTheSimulationFailsTheTask) {
  Trouble trouble;
  trouble.at.emplace(1, Error{ErrorCode::kDevice, "injected"});
  const RunReport report =
      make_virtual_executor(&trouble)->run(make_graph({{0, 3}, {1, 2, {0}}, {0, 1, {1}}, {1, 4}}), nullptr, {});
  EXPECT_THAT(states(report), ElementsAre(kEnded, kFailed, kCancelled, kEnded));
  EXPECT_EQ(report.status.error().message, "task 1 'layer L0' on device 1: injected");
  EXPECT_EQ(report.tasks[3].end, nanoseconds(7));
}

TEST(VirtualExecutor, AnOverdueTaskIsGivenUpAtItsLimit) {
  Trouble trouble;
  trouble.at.emplace(0, milliseconds(100));
  RunLimits limits;
  limits.overdue_floor = milliseconds(1);
  const RunReport report =
      make_virtual_executor(&trouble)->run(make_graph({{0, 3'000'000}, {0, 5}, {1, 2, {0}}}), nullptr, limits);
  EXPECT_THAT(states(report), ElementsAre(kFailed, kEnded, kCancelled));
  EXPECT_EQ(report.tasks[0].end, milliseconds(30));
}

}  // namespace
}  // namespace tessera
