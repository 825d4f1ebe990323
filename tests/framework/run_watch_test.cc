// Watches runs under both clocks, and rewrites what has not started.
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/executor.h"
#include "framework/replay.h"
#include "tests/framework/graphs.h"
#include "tests/framework/scripted_backend.h"

namespace tessera {
namespace {

using testing::ElementsAre;

// Writes down what it hears; `react` may use the control.
class Recorder : public RunWatch {
 public:
  void began(RunControl& control) override {
    control_ = &control;
    heard.push_back("began");
    react(kNoTask, control);
  }
  void started(const Task& task, Duration) override {
    const std::lock_guard lock(mutex_);
    heard.push_back("start " + std::to_string(task.id));
  }
  void ended(const Task& task, const TaskTiming&) override {
    {
      const std::lock_guard lock(mutex_);
      heard.push_back("end " + std::to_string(task.id));
    }
    react(task.id, *control_);
  }
  void finished() override { heard.push_back("finished"); }
  Duration next_alarm() override { return alarm_at; }
  void alarm(Duration now) override {
    heard.push_back("alarm " + std::to_string(now.ns));
    alarm_at = kForever;
  }

  std::vector<std::string> heard;
  Duration alarm_at = kForever;
  std::function<void(TaskId, RunControl&)> react = [](TaskId, RunControl&) {};

 private:
  RunControl* control_ = nullptr;
  std::mutex mutex_;
};

struct WatchedRun {
  explicit WatchedRun(TaskGraph made) : graph(std::move(made)) { limits.watch = &watch; }
  RunReport under(bool wall) {
    return wall ? make_wall_executor({{&backend, 0}, {&backend, 1}})->run(graph, &binder, limits)
                : make_virtual_executor(nullptr)->run(graph, &binder, limits);
  }
  TaskGraph graph;
  ScriptedBackend backend;
  RecordingBinder binder;
  Recorder watch;
  RunLimits limits;
};

class RunWatchUnder : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Clock, RunWatchUnder, testing::Bool(),
                         [](const auto& param) { return param.param ? "Wall" : "Virtual"; });

TEST_P(RunWatchUnder, HearsOfEveryTaskBetweenBeginningAndEnd) {
  WatchedRun run(make_graph({{0, 5}, {0, 5, {0}}, {0, 5, {1}}}));
  EXPECT_TRUE(run.under(GetParam()).status.ok());
  EXPECT_THAT(run.watch.heard, ElementsAre("began", "start 0", "end 0", "start 1", "end 1", "start 2", "end 2", "finished"));
}

TEST_P(RunWatchUnder, RewritesWhatHasNotStartedAndNothingElse) {
  WatchedRun run(make_graph({{0, 5, {}, 8}, {0, 5, {0}, 8}, {0, 5, {1}, 0, 16}}));
  run.limits.capacity = {Bytes{16}};
  int edits = 0;
  run.watch.react = [&](TaskId ended, RunControl& control) {
    if (ended != 0) return;
    const TaskId started[] = {0, 1}, waiting[] = {1, 2};
    EXPECT_FALSE(control.revise(started, [&] { ++edits; }));
    EXPECT_TRUE(control.revise(waiting, [&] {
      ++edits;
      Task load = run.graph.task(1), compute = run.graph.task(2);
      load.reserve = 3;
      compute.release = 11;
      run.graph.revise(load);
      run.graph.revise(compute);
    }));
  };
  const RunReport report = run.under(GetParam());
  EXPECT_TRUE(report.status.ok());
  EXPECT_EQ(edits, 1);
  EXPECT_EQ(report.peak[0], Bytes{11});
  EXPECT_TRUE(run.binder.balanced());
}

TEST_P(RunWatchUnder, AnEmptyTaskIsNotBoundAndLosesItsTurnForMemory) {
  WatchedRun run(make_graph({{0, 5, {}, 8}, {0, 5, {}, 8}, {0, 5, {}, 8}, {1, 5, {0, 1, 2}, 0, 24}}));
  run.limits.capacity = {Bytes{16}};  // not enough for the three
  run.watch.react = [&](TaskId ended, RunControl& control) {
    if (ended != kNoTask) return;
    const TaskId tasks[] = {1, 3};
    EXPECT_TRUE(control.revise(tasks, [&] {
      Task load = run.graph.task(1), compute = run.graph.task(3);
      load.empty = true;
      load.reserve = 0;
      load.planned = {};
      compute.release = 16;
      run.graph.revise(load);
      run.graph.revise(compute);
    }));
  };
  const RunReport report = run.under(GetParam());
  EXPECT_TRUE(report.status.ok()) << report.status.error().message;
  EXPECT_THAT(run.binder.order, ElementsAre(0, 2, 3));
  EXPECT_EQ(report.peak[0], Bytes{16});
  EXPECT_EQ(report.tasks[1].state, TaskState::kDone);
}

TEST_P(RunWatchUnder, MoreCapacityLetsTheNextReservationGo) {
  WatchedRun run(make_graph({{0, 5, {}, 8}, {0, 5, {}, 8}, {1, 5, {0}}, {1, 5, {1}, 0, 16}}));
  run.limits.capacity = {Bytes{8}};
  run.watch.react = [](TaskId ended, RunControl& control) {
    if (ended == 2) control.set_capacity(0, Bytes{16});
  };
  EXPECT_TRUE(run.under(GetParam()).status.ok());
}

TEST_P(RunWatchUnder, NothingIsRewrittenAfterAFailure) {
  WatchedRun run(make_graph({{0, 5}, {0, 5}, {0, 5}}));
  run.binder.fail = {0};
  bool called = false;
  run.watch.react = [&](TaskId ended, RunControl& control) {
    const TaskId last[] = {2};
    if (ended != 0) return;
    EXPECT_FALSE(control.revise(last, [&] { called = true; }));
  };
  EXPECT_FALSE(run.under(GetParam()).status.ok());
  EXPECT_FALSE(called);
  EXPECT_EQ(run.watch.heard.back(), "finished");
}

TEST(RunWatch, AnAlarmComesAtItsInstantAfterWhatEndsThere) {
  for (const auto& [at, want] : std::vector<std::pair<int64_t, int>>{{3, 2}, {5, 3}}) {
    WatchedRun run(make_graph({{0, 5}, {0, 5, {0}}}));
    run.watch.alarm_at = nanoseconds(at);
    EXPECT_TRUE(run.under(false).status.ok());
    EXPECT_EQ(run.watch.heard[static_cast<size_t>(want)], "alarm " + std::to_string(at));
    EXPECT_EQ(run.watch.heard[4], "start 1");
  }
}

TEST(RunWatch, ARefusedRunCallsNobody) {
  WatchedRun run(make_graph({{6, 5}}));
  EXPECT_FALSE(run.under(true).status.ok());
  EXPECT_THAT(run.watch.heard, ElementsAre());
}

// What the virtual executor does from some task on is what replay_rest says at that moment.
TEST(ReplayRest, IsTheExecutorsOwnFutureFromAnyMomentOn) {
  int compared = 0, stuck = 0;
  for (uint64_t seed = 0; seed < 800; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph random = random_graph(seed, seed % 2 == 0);
    WatchedRun run(random.graph);
    run.limits.capacity = random.capacity;
    run.limits.held = random.held;
    RunProgress progress;
    progress.start.assign(run.graph.size(), kForever);
    progress.end = progress.start;
    struct Progress final : RunWatch {
      explicit Progress(RunProgress& of) : at(of) {}
      void began(RunControl& given) override { control = &given; }
      void started(const Task& task, Duration now) override { at.start[task.id] = now; }
      void ended(const Task& task, const TaskTiming& timing) override {
        at.end[task.id] = timing.end;
        at.now = control->now();
        moments.push_back(at);
      }
      void finished() override {}
      RunProgress& at;
      RunControl* control = nullptr;
      std::vector<RunProgress> moments;
    } watch(progress);
    run.limits.watch = &watch;
    const RunReport report = run.under(false);
    for (size_t m = 0; m < watch.moments.size(); m += 3) {
      const auto rest = replay_rest(random.graph, random.capacity, random.held, watch.moments[m]);
      ASSERT_EQ(rest.ok(), report.status.ok()) << "whether it can end does not depend on time";
      if (!rest.ok()) {
        ++stuck;
        continue;
      }
      ++compared;
      EXPECT_EQ(rest->makespan, report.makespan);
      for (TaskId id = 0; id < run.graph.size(); ++id) EXPECT_EQ(rest->start[id], report.tasks[id].start);
    }
  }
  EXPECT_GT(compared, 500);
  EXPECT_GT(stuck, 100);
}

}  // namespace
}  // namespace tessera
