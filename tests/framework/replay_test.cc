// Holds replay and the virtual executor, two implementations of the same rules, equal.
#include "framework/replay.h"

#include <gtest/gtest.h>

#include "framework/executor.h"
#include "tests/framework/graphs.h"
#include "tests/framework/scripted_backend.h"

namespace tessera {
namespace {

RunReport run_virtually(const TaskGraph& graph, const std::vector<Bytes>& capacity, const std::vector<Bytes>& held) {
  RunLimits limits;
  limits.capacity = capacity;
  limits.held = held;
  return make_virtual_executor(nullptr)->run(graph, nullptr, limits);
}

// The first difference, or nothing.
std::string difference(const Timeline& timeline, const RunReport& report) {
  for (TaskId id = 0; id < report.tasks.size(); ++id) {
    if (timeline.start[id] != report.tasks[id].start) return "start of task " + std::to_string(id);
    if (timeline.end[id] != report.tasks[id].end) return "end of task " + std::to_string(id);
    if (report.tasks[id].state != TaskState::kDone) return "state of task " + std::to_string(id);
  }
  if (timeline.makespan != report.makespan) return "makespan";
  if (timeline.peak != report.peak) return "peak";
  return "";
}

struct Tally {
  int equal = 0, infeasible = 0;
};

Tally compare(uint64_t first_seed, int graphs, bool tight) {
  Tally tally;
  for (uint64_t seed = first_seed; seed < first_seed + graphs; ++seed) {
    const RandomGraph g = random_graph(seed, tight);
    const Result<Timeline> timeline = replay(g.graph, g.capacity, g.held);
    const RunReport report = run_virtually(g.graph, g.capacity, g.held);
    EXPECT_EQ(timeline.ok(), report.status.ok()) << "seed " << seed;
    if (timeline.ok() != report.status.ok()) break;
    if (timeline.ok()) {
      EXPECT_EQ(difference(*timeline, report), "") << "seed " << seed;
      ++tally.equal;
    } else {
      EXPECT_EQ(timeline.error().code, ErrorCode::kInfeasible);
      EXPECT_EQ(report.status.error().code, ErrorCode::kInfeasible);
      EXPECT_NE(report.status.error().message.find("no progress"), std::string::npos);
      ++tally.infeasible;
    }
  }
  return tally;
}

TEST(Replay, EqualsTheVirtualExecutorOnRandomGraphs) { EXPECT_GT(compare(1, 3000, false).equal, 2000); }

TEST(Replay, EqualsTheVirtualExecutorWhereMemoryIsTight) {
  const Tally tally = compare(100'000, 4000, true);
  EXPECT_GT(tally.equal, 400);  // both outcomes must really occur
  EXPECT_GT(tally.infeasible, 400);
}

// Reservations are granted in plan order, so what can run at all does not depend on timing: real threads agree, too.
TEST(Replay, TellsWhetherTheWallExecutorGetsThrough) {
  ScriptedBackend backend;
  const auto executor = make_wall_executor(std::vector<DeviceBinding>(7, {&backend, 0}));
  for (uint64_t seed = 200'000; seed < 200'400; ++seed) {
    const RandomGraph g = random_graph(seed, true);
    RunLimits limits;
    limits.capacity = g.capacity;
    limits.held = g.held;
    const RunReport report = executor->run(g.graph, nullptr, limits);
    ASSERT_EQ(report.status.ok(), replay(g.graph, g.capacity, g.held).ok()) << "seed " << seed;
    for (size_t m = 0; m < g.capacity.size(); ++m) ASSERT_LE(report.peak[m], g.capacity[m]) << "seed " << seed;
  }
}

TEST(Replay, PipelinesLoadsAndComputes) {
  // Loads 0 and 1 of 10 ns on device 0; computes 2 and 3 of 4 ns on device 1.
  const TaskGraph graph = make_graph({{0, 10}, {0, 10}, {1, 4, {0}}, {1, 4, {1, 2}}});
  const Timeline timeline = replay(graph, {}, {}).take();
  EXPECT_EQ(timeline.start, (std::vector<Duration>{{0}, {10}, {10}, {20}}));
  EXPECT_EQ(timeline.makespan, nanoseconds(24));
}

TEST(Replay, DelaysALoadUntilItsBytesAreReleased) {
  const TaskGraph graph = make_graph({{0, 10, {}, 6}, {0, 10, {}, 6}, {1, 5, {0}, 0, 6}, {1, 5, {1, 2}, 0, 6}});
  const Timeline timeline = replay(graph, {Bytes{10}}, {Bytes{1}}).take();
  EXPECT_EQ(timeline.start[1], nanoseconds(15));  // load 1 needs the 6 bytes that task 2 gives back at 15
  EXPECT_EQ(timeline.peak, std::vector<Bytes>{Bytes{7}});
}

TEST(Replay, GrantsInPlanOrderThoughALaterTaskWouldFit) {
  // Task 0 runs 20 ns before task 1 (8 bytes) may start; task 2 on a free device (1 byte) waits for its turn.
  const TaskGraph graph = make_graph({{0, 20}, {0, 1, {}, 8}, {1, 1, {}, 1}});
  EXPECT_EQ(replay(graph, {Bytes{10}}, {}).take().start[2], nanoseconds(20));
}

TEST(Replay, CountsEndsBeforeStartsOfTheSameInstant) {
  const TaskGraph graph = make_graph({{0, 10, {}, 5, 5}, {1, 10, {0}, 5, 5}});
  EXPECT_EQ(replay(graph, {Bytes{5}}, {}).take().peak, std::vector<Bytes>{Bytes{5}});
}

TEST(Replay, NamesTheTaskThatCanNeverStart) {
  const TaskGraph graph = make_graph({{0, 1}, {0, 1, {0}, 3 << 20}});
  const Result<Timeline> timeline = replay(graph, {mib(2)}, {mib(1)});
  ASSERT_FALSE(timeline.ok());
  EXPECT_EQ(timeline.error().message,
            "task 1 'layer L0' needs 3.0 MiB of memory 0, 1.0 MiB free of 2.0 MiB; raise --memory or lower the bits");
}

TEST(Replay, OfAnEmptyGraphIsEmpty) {
  const Timeline timeline = replay(make_graph({}), {Bytes{9}}, {Bytes{4}}).take();
  EXPECT_EQ(timeline.makespan, Duration{});
  EXPECT_EQ(timeline.peak, std::vector<Bytes>{Bytes{4}});
}

TEST(Replay, SurvivesDurationsThatNeverEnd) {
  const TaskGraph graph = make_graph({{0, INT64_MAX}, {0, INT64_MAX, {0}}, {1, 5, {0, 1}}});
  const RunReport report = run_virtually(graph, {}, {});
  EXPECT_EQ(difference(replay(graph, {}, {}).take(), report), "");
  EXPECT_EQ(report.makespan, kForever);
}

}  // namespace
}  // namespace tessera
