// Tests that graphs are built as told, and that illegal ones are refused.
#include "framework/task_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/framework/graphs.h"

namespace tessera {
namespace {

using testing::ElementsAre;

TEST(TaskGraph, GroupsTasksByDeviceAndGrantsByMemory) {
  const TaskGraph graph = make_graph({{1, 5, {}, 3}, {0, 5, {0}, 4, 0, 2}, {1, 2, {0, 1}, 0, 3}, {0, 1, {2}, 1}});
  EXPECT_EQ(graph.device_count(), 2);
  EXPECT_EQ(graph.memory_count(), 3);
  EXPECT_THAT(graph.lane(0), ElementsAre(1, 3));
  EXPECT_THAT(graph.lane(1), ElementsAre(0, 2));
  EXPECT_TRUE(graph.lane(7).empty());
  EXPECT_THAT(graph.grants(0), ElementsAre(0, 3));
  EXPECT_TRUE(graph.grants(1).empty());
  EXPECT_THAT(graph.grants(2), ElementsAre(1));
  EXPECT_THAT(graph.successors(0), ElementsAre(1, 2));
  EXPECT_EQ(graph.predecessor_count(2), 2u);
  EXPECT_THAT(graph.levels(), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(graph.critical_path(), nanoseconds(13));
}

TEST(TaskGraph, JoinsLeaveOutWhatLanesImply) {
  // Device 1's task 4 waits for 0, 1 and 2 of device 0 (2 implies the others); task 5 waits for 1, already implied by 4.
  const TaskGraph graph = make_graph({{0, 1}, {0, 1}, {0, 1}, {2, 1}, {1, 1, {0, 2, 1, 3}}, {1, 1, {1, 4}}});
  EXPECT_THAT(graph.joins(4), testing::UnorderedElementsAre(2, 3));
  EXPECT_TRUE(graph.joins(5).empty());
}

TEST(TaskGraph, EmptyIsLegal) {
  const Result<TaskGraph> graph = TaskGraphBuilder().build();
  ASSERT_TRUE(graph.ok());
  EXPECT_EQ(graph->size(), 0u);
  EXPECT_EQ(graph->device_count(), 0);
  EXPECT_EQ(TaskGraph().device_count(), 0);
}

TEST(TaskGraph, RefusesBackwardAndDanglingEdges) {
  for (const auto& [after, before] : {std::pair<TaskId, TaskId>{0, 1}, {1, 1}, {7, 0}}) {
    TaskGraphBuilder builder;
    builder.add(make_task(0, 1));
    builder.add(make_task(0, 1));
    builder.depend(after, before);
    const Result<TaskGraph> graph = builder.build();
    ASSERT_FALSE(graph.ok());
    EXPECT_EQ(graph.error().code, ErrorCode::kInvalid);
    EXPECT_TRUE(builder.build().ok()) << "a failed build leaves the builder empty";
  }
}

TEST(TaskGraph, RefusesNegativeBytesAndDurations) {
  for (int field = 0; field < 3; ++field) {
    Task task = make_task(0, field == 0 ? -1 : 1);
    task.reserve = field == 1 ? -1 : 0;
    task.release = field == 2 ? -1 : 0;
    TaskGraphBuilder builder;
    builder.add(task);
    EXPECT_FALSE(builder.build().ok());
  }
}

TEST(TaskGraph, NodeStaysWithin350BytesWithFourEdges) {
  TaskGraphBuilder builder;
  for (TaskId id = 0; id < 1000; ++id) {
    Task task = make_task(id % 2, 1);
    task.reserve = 1;
    builder.add(task);
    for (TaskId before = id < 4 ? 0 : id - 4; before < id; ++before) builder.depend(id, before);
  }
  EXPECT_LE(builder.build().take().bytes_per_node(), 350);
}

Task named(Op op, int layer, SliceMask slices = 0, Bits bits = 0) {
  Task task;
  task.cost.op = op;
  task.layer = static_cast<int16_t>(layer);
  task.slice_set = slices;
  task.bits = bits;
  return task;
}

TEST(TaskGraph, NamesTasks) {
  TaskGraphBuilder builder;
  builder.add(named(Op::kLoadShards, 3, 0b111111, 6));
  builder.add(named(Op::kLoadRows, -1));
  builder.add(named(Op::kLoadExit, 5));
  builder.add(named(Op::kEmbed, -1));
  builder.add(named(Op::kLayer, 3));
  builder.add(named(Op::kAttentionPart, 3, 0b10001101));
  builder.add(named(Op::kExit, 5));
  builder.add(named(Op::kFfnPart, 0, SliceMask{1} << 63));
  const TaskGraph graph = builder.build().take();
  std::vector<std::string> names;
  for (TaskId id = 0; id < graph.size(); ++id) names.push_back(graph.name(id));
  EXPECT_THAT(names, ElementsAre("load L3 6b [0-5]", "rows", "load exit 6", "embed", "layer L3", "attention L3 [0,2-3,7]",
                                 "exit 6", "ffn L0 [63]"));
}

}  // namespace
}  // namespace tessera
