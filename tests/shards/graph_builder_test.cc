// Checks how plans become graphs: tasks and their order, edges, bytes taken and given back, and what is refused.
#include "shards/graph_builder.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "../scheduler/graph_cases.h"

namespace tessera {
namespace {

using testing::plain_plan;
using testing::plain_platform;
using testing::plain_shape;
using testing::PlainCosts;

Result<LoweredPlan> lowered(const Plan& plan, const Residency& residency = {}, int cpus = 1, int tokens = 8) {
  return lower(plain_shape(), plan, residency, plain_platform(cpus), 0, PlainCosts(), tokens);
}

std::vector<std::string> names(const TaskGraph& graph) {
  std::vector<std::string> out;
  for (const Task& t : graph.tasks()) out.push_back(graph.name(t.id));
  return out;
}

std::vector<std::string> successors(const TaskGraph& graph, TaskId id) {
  std::vector<std::string> out;
  for (const TaskId next : graph.successors(id)) out.push_back(graph.name(next));
  return out;
}

void expect_illegal(const Result<LoweredPlan>& got, const std::string& message) {
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kInternal);
  EXPECT_NE(got.error().message.find(message), std::string::npos) << got.error().message;
}

TEST(GraphBuilder, PutsALayersLoadsBeforeItsCompute) {
  const auto got = lowered(plain_plan(plain_shape(), 2, 3, 4));
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(names(got->graph), (std::vector<std::string>{"rows", "embed", "load L0 4b [0-2]", "layer L0", "load L1 4b [0-2]",
                                                         "layer L1", "load exit 2", "exit 2"}));
  EXPECT_EQ(successors(got->graph, 0), std::vector<std::string>{"embed"});
  EXPECT_EQ(successors(got->graph, 1), std::vector<std::string>{"layer L0"});
  EXPECT_EQ(successors(got->graph, 3), std::vector<std::string>{"layer L1"});
  EXPECT_EQ(got->embed, 1u);
  EXPECT_EQ(got->exit, 7u);
}

TEST(GraphBuilder, TakesBytesWhenALoadStartsAndGivesThemBackAfterTheLayer) {
  const auto got = lowered(plain_plan(plain_shape(), 1, 3, 4));
  ASSERT_TRUE(got.ok());
  const TaskGraph& graph = got->graph;
  const int64_t rows = row_bound(plain_shape(), 8).bytes.n;
  EXPECT_EQ(rows, 4096 * (8 + 1));  // a block for each token; 8 positions of 128 bytes in one
  EXPECT_EQ(graph.task(0).reserve, rows);
  EXPECT_EQ(graph.task(1).release, rows);
  EXPECT_EQ(graph.task(2).reserve, 3 * 4 * 4096);
  EXPECT_EQ(graph.task(3).release, 3 * 4 * 4096);
  EXPECT_EQ(graph.task(4).reserve, 8192);  // the exit head stays
  EXPECT_EQ(graph.task(5).release, 0);
  EXPECT_EQ(got->io.n, rows + 3 * 4 * 4096 + 8192);
}

TEST(GraphBuilder, DoesNotGiveBackWhatThePlanKeeps) {
  Plan plan = plain_plan(plain_shape(), 1, 3, 4);
  plan.keep = {{0, 1}};
  const auto got = lowered(plan);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->graph.task(3).release, 2 * 4 * 4096);
}

TEST(GraphBuilder, GivesBackAResidentThatThePlanUsesButDoesNotKeep) {
  Residency residency;
  residency.shards = {{{0, 0}, 4, false, kib(16)}, {{0, 1}, 4, true, kib(100)}, {{1, 0}, 2, false, kib(8)}};
  residency.exits = {1};
  Plan plan = plain_plan(plain_shape(), 1, 3, 4, residency);
  plan.keep = {{0, 0}};
  const auto got = lowered(plan, residency);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(names(got->graph), (std::vector<std::string>{"rows", "embed", "load L0 4b [2]", "layer L0", "exit 1"}));
  EXPECT_EQ(got->residents[0], kib(16) + kib(100) + kib(8));  // both shards of layer 0 and the exit head (8 KiB)
  EXPECT_EQ(got->graph.task(3).release, kib(100).n + 4 * 4096);
  EXPECT_FALSE(got->graph.task(3).cost.decoded);  // not all of them
}

TEST(GraphBuilder, HoldsWhatThePlanKeepsUnusedAndDropsItOtherwise) {
  Residency residency;
  residency.shards = {
      {{0, 0}, 4, false, kib(16)}, {{0, 1}, 4, true, kib(100)}, {{0, 2}, 2, false, kib(8)}, {{1, 0}, 2, false, kib(8)}};
  residency.exits = {1, 2};
  Plan plan = plain_plan(plain_shape(), 1, 1, 4, residency);
  ASSERT_EQ(lowered(plan, residency)->residents[0], kib(16) + kib(8));  // its shard and exit head
  plan.keep_unused = true;
  const auto got = lowered(plan, residency);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->residents[0],
            kib(16) + kib(100) + kib(8) + kib(8) + plain_shape().exit_bytes[0] + plain_shape().exit_bytes[1]);
  EXPECT_EQ(got->graph.task(2).release, kib(16).n);  // the plan's own shard alone
}

TEST(GraphBuilder, CountsALayerAsDecodedWhereAllItsShardsAre) {
  Residency residency;
  residency.shards = {{{0, 0}, 4, true, kib(100)}, {{0, 1}, 4, true, kib(100)}};
  const auto got = lowered(plain_plan(plain_shape(), 1, 2, 4, residency), residency);
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(got->graph.task(2).cost.decoded);
}

TEST(GraphBuilder, ReloadsAResidentAtOtherBits) {
  Residency residency;
  residency.shards = {{{0, 0}, 2, false, kib(8)}};
  const auto got = lowered(plain_plan(plain_shape(), 1, 1, 4), residency);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->residents[0], Bytes{});  // it leaves before the run
}

TEST(GraphBuilder, SplitsALayerIntoPartsThatCombineTwice) {
  Plan plan = plain_plan(plain_shape(), 1, 4, 2);
  plan.placement[0] = {{1, 0b0011}, {2, 0b1100}};
  plan.loads = {{Op::kLoadRows, -1, 0, 0},
                {Op::kLoadShards, 0, 2, 0b0011},
                {Op::kLoadShards, 0, 2, 0b1100},
                {Op::kLoadExit, -1, 0, 0}};
  const auto got = lowered(plan, {}, 2);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(names(got->graph),
            (std::vector<std::string>{"rows", "embed", "load L0 2b [0-1]", "load L0 2b [2-3]", "attention L0 [0-1]",
                                      "attention L0 [2-3]", "combine attention L0", "ffn L0 [0-1]", "ffn L0 [2-3]",
                                      "combine ffn L0", "load exit 1", "exit 1"}));
  EXPECT_EQ(successors(got->graph, 2), std::vector<std::string>{"attention L0 [0-1]"});
  EXPECT_EQ(successors(got->graph, 3), std::vector<std::string>{"attention L0 [2-3]"});
  EXPECT_EQ(successors(got->graph, 6), (std::vector<std::string>{"ffn L0 [0-1]", "ffn L0 [2-3]", "combine ffn L0"}));
  EXPECT_EQ(got->graph.task(7).release, 2 * 2 * 4096);  // each part its own slices
  EXPECT_EQ(got->graph.task(8).release, 2 * 2 * 4096);
  EXPECT_EQ(got->buffers.host.partials, 2 * 8 * 32 * 8);  // two of f64 [T, D]
}

TEST(GraphBuilder, ComputesNothingBeforeTheLastLoadWhereThePlanIsNotPipelined) {
  Plan plan = plain_plan(plain_shape(), 2, 1, 2);
  plan.pipelined = false;
  const auto got = lowered(plan);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(names(got->graph), (std::vector<std::string>{"rows", "load L0 2b [0]", "load L1 2b [0]", "load exit 2", "embed",
                                                         "layer L0", "layer L1", "exit 2"}));
  EXPECT_EQ(got->graph.predecessor_count(4), 4u);
}

TEST(GraphBuilder, KeepsTheOrderOfLoadsThatThePlanGives) {
  Plan plan = plain_plan(plain_shape(), 2, 1, 2);
  std::swap(plan.loads[1], plan.loads[3]);  // exit head before layer 1 before layer 0
  const auto got = lowered(plan);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(names(got->graph), (std::vector<std::string>{"rows", "embed", "load exit 2", "load L1 2b [0]", "load L0 2b [0]",
                                                         "layer L0", "layer L1", "exit 2"}));
}

TEST(GraphBuilder, RefusesWhatIsNeitherLoadedNorResident) {
  Plan plan = plain_plan(plain_shape(), 2, 3, 4);
  plan.loads[2].slices = 0b011;
  expect_illegal(lowered(plan), "layer 1 slice 2: no load and not resident");
}

TEST(GraphBuilder, RefusesLoadsThatThePlanDoesNotNeed) {
  Residency residency;
  residency.shards = {{{0, 0}, 4, false, kib(16)}};
  expect_illegal(lowered(plain_plan(plain_shape(), 1, 1, 4), residency), "layer 0 slice 0: loaded though it is resident");
  Plan twice = plain_plan(plain_shape(), 1, 1, 4);
  twice.loads.insert(twice.loads.begin(), twice.loads[1]);
  expect_illegal(lowered(twice), "layer 0 slice 0: loaded twice");
  Plan absent = plain_plan(plain_shape(), 1, 1, 4);
  absent.loads[1].slices = 0b11;
  expect_illegal(lowered(absent), "layer 0 slice 1");
  residency.shards.clear();
  residency.exits = {1};
  expect_illegal(lowered(plain_plan(plain_shape(), 1, 1, 4), residency), "exit head of depth 1: loaded though");
}

TEST(GraphBuilder, RefusesAPlacementThatMissesOrRepeatsSlices) {
  Plan plan = plain_plan(plain_shape(), 1, 3, 4);
  plan.placement[0] = {{1, 0b001}};
  expect_illegal(lowered(plan), "layer 0: placement covers 1 slices; the layer has 3");
  plan.placement[0] = {{1, 0b011}, {2, 0b110}};
  expect_illegal(lowered(plan, {}, 2), "layer 0: a part on cpu1 repeats slices");
  plan.placement[0] = {{9, 0b111}};
  expect_illegal(lowered(plan), "device 9 does not exist");
  plan.placement[0] = {};
  expect_illegal(lowered(plan), "layer 0");
}

TEST(GraphBuilder, RefusesPlansOfTheWrongForm) {
  const ModelShape shape = plain_shape();
  Plan plan = plain_plan(shape, 2, 1, 4);
  plan.bits.pop_back();
  expect_illegal(lowered(plan), "7 bits and 2 placements; depth 2 needs 8 and 2");
  plan = plain_plan(shape, 2, 1, 4);
  plan.depth = 3;
  expect_illegal(lowered(plan), "depth 3");
  plan = plain_plan(shape, 1, 1, 3);
  expect_illegal(lowered(plan), "layer 0 slice 0: the store has no version at 3 bits");
  plan = plain_plan(shape, 1, 1, 4);
  plan.bits[0] = 9;
  expect_illegal(lowered(plan), "9 bits");
  plan = plain_plan(shape, 1, 1, 4);
  plan.keep = {{0, 1}};
  expect_illegal(lowered(plan), "layer 0 slice 1: kept twice, or kept though absent");
  plan.keep = {{5, 0}};
  expect_illegal(lowered(plan), "layer 5 slice 0: kept");
  plan.keep = {};
  plan.loads.erase(plan.loads.begin());
  expect_illegal(lowered(plan), "rows");
  expect_illegal(lowered(plain_plan(shape, 1, 1, 4), {}, 1, 65), "65 tokens");
  plan = plain_plan(shape, 1, 1, 4);
  plan.quantile = 1;
  expect_illegal(lowered(plan), "quantile");
}

TEST(GraphBuilder, RefusesAMemoryThatNoTransferReaches) {
  Platform platform = plain_platform();
  platform.devices[1].memory = 1;
  platform.memories.push_back({"gpu0", mib(64)});
  const ModelShape shape = plain_shape();
  expect_illegal(lower(shape, plain_plan(shape, 1, 1, 4), {}, platform, 0, PlainCosts(), 8), "that no transfer reaches");
}

// cpu0 is home, gpu2 computes layer 0; layer 1 is split.
Result<LoweredPlan> on_two_devices(const testing::Accelerator& kind, const Residency& residency = {}) {
  Platform platform = plain_platform();
  const DeviceId gpu = testing::add_accelerator(platform, kind);
  const ModelShape shape = plain_shape();
  Plan plan = plain_plan(shape, 2, 2, 4, residency);
  plan.home = 1;
  plan.placement = {{{gpu, 0b11}}, {{1, 0b01}, {gpu, 0b10}}};
  return lower(shape, plan, residency, platform, 0, PlainCosts(), 8);
}

TEST(GraphBuilder, MovesActivationsAndTakesWeightsOverForADeviceWithItsOwnBuffers) {
  const auto got = on_two_devices({});
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(names(got->graph), (std::vector<std::string>{"rows",
                                                         "embed",
                                                         "load L0 4b [0-1]",
                                                         "take over L0 4b [0-1]",
                                                         "x up L0",
                                                         "layer L0",
                                                         "load L1 4b [0]",
                                                         "load L1 4b [1]",
                                                         "take over L1 4b [1]",
                                                         "x down L1",
                                                         "attention L1 [0]",
                                                         "attention L1 [1]",
                                                         "partial down L1",
                                                         "combine attention L1",
                                                         "ffn L1 [0]",
                                                         "y up L1",
                                                         "ffn L1 [1]",
                                                         "partial down L1",
                                                         "combine ffn L1",
                                                         "load exit 2",
                                                         "exit 2"}));
  const Task& taken = got->graph.task(3);
  EXPECT_EQ(taken.cost.device, 3) << "the link";
  EXPECT_EQ(taken.memory, 1);
  EXPECT_EQ(taken.release_memory, 0);
  EXPECT_EQ(taken.reserve, taken.release);
  EXPECT_EQ(got->graph.task(5).release_memory, 1);
  EXPECT_EQ(got->buffers.own.at(2).partials, 2 * 8 * 32 * 8) << "its part is the second";
  EXPECT_GT(got->fixed[1].n, 0);
}

TEST(GraphBuilder, LoadsStraightIntoBuffersThatTheHostCanAddress) {
  const auto got = on_two_devices({.link = false, .host_visible = true, .shared = true});
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->graph.name(2), "load L0 4b [0-1]");
  EXPECT_EQ(got->graph.task(2).space, 2);
  EXPECT_EQ(got->graph.task(2).memory, 0);
  for (const Task& task : got->graph.tasks()) EXPECT_NE(task.payload, Payload::kWeights);
}

TEST(GraphBuilder, TakesOverWhatTheHostHoldsAndLeavesWhatTheDeviceHolds) {
  Residency residency;
  residency.shards = {{{0, 0}, 4, false, kib(16)}, {{0, 1}, 4, false, kib(16), 2}};
  const auto got = on_two_devices({}, residency);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(names(got->graph)[2], "take over L0 4b [0]");
  EXPECT_EQ(got->residents, (std::vector<Bytes>{kib(16), kib(16)}));
  EXPECT_EQ(got->graph.task(2).release, kib(16).n);
  EXPECT_EQ(got->graph.task(4).release, kib(32).n);
}

TEST(GraphBuilder, PreloadsBottomLayersFirstAndDecodedShardsOneByOne) {
  const ModelShape shape = plain_shape();
  const auto graph = lower_preload(
      shape,
      {{{1, 0}, 4, false, {}}, {{0, 2}, 2, false, {}}, {{0, 0}, 2, false, {}}, {{1, 1}, 4, true, {}}, {{1, 2}, 4, true, {}}},
      {2}, 0, PlainCosts());
  ASSERT_TRUE(graph.ok()) << graph.error().message;
  EXPECT_EQ(names(*graph), (std::vector<std::string>{"load L0 2b [0,2]", "load L1 4b [0]", "load L1 4b [1]",
                                                     "load L1 4b [2]", "load exit 2"}));
  EXPECT_FALSE(lower_preload(shape, {{{0, 0}, 3, false, {}}}, {}, 0, PlainCosts()).ok());
  EXPECT_FALSE(lower_preload(shape, {}, {7}, 0, PlainCosts()).ok());
}

}  // namespace
}  // namespace tessera
