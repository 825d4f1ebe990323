// That elastic lowers and raises what has not been loaded, against an editor that is scripted.
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "framework/task_graph.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

// A request of layers at the pace that it is told: one load a layer, then its compute. Time stands at the end of the load of
// layer `loaded`.
class ScriptedEditor final : public PlanEditor {
 public:
  ScriptedEditor(const World& world, Plan plan)
      : world_(world), replay_(world), view_(view_of(world, replay_)), plan_(plan) {
    TaskGraphBuilder builder;
    for (int l = 0; l < plan_.depth; ++l) {
      Task task;
      task.kind = TaskKind::kLoad;
      task.cost.op = Op::kLoadShards;
      task.layer = static_cast<int16_t>(l);
      task.slice_set = plan_.slice_set(l);
      builder.add(task);
    }
    for (int l = 0; l < plan_.depth; ++l) {
      Task task;
      task.cost.op = Op::kLayer;
      task.cost.device = 1;
      task.layer = static_cast<int16_t>(l);
      task.slice_set = plan_.slice_set(l);
      task.estimate.mean = task.estimate.p95 = layer(plan_, l);
      builder.add(task);
    }
    graph_ = builder.build().take();
  }

  const PlanningView& view() const override { return view_; }
  const Plan& plan() const override { return plan_; }
  const TaskGraph& graph() const override { return graph_; }
  // The computes that are behind, as if they were one.
  std::vector<RunningTask> running() const override {
    if (loaded_ < 0 || compute_ <= now_) return {};
    return {{static_cast<TaskId>(plan_.depth + loaded_), compute_ - slowed(layer(plan_, loaded_))}};
  }
  Pace pace() const override { return pace_; }
  std::vector<PendingLoad> pending() const override {
    std::vector<PendingLoad> out;
    for (int l = loaded_ + 1; l < plan_.depth; ++l) {
      PendingLoad load;
      load.task = static_cast<TaskId>(l);
      load.layer = static_cast<int16_t>(l);
      load.slices = plan_.slice_set(l);
      out.push_back(load);
    }
    return out;
  }
  Result<Forecast> forecast(std::span<const ShardEdit> edits, double, const Pace& pace) const override {
    Plan with = plan_;
    apply(edits, with);
    Forecast out;
    Duration io = now_, compute = std::max(now_, compute_);
    for (int l = loaded_ + 1; l < with.depth; ++l) {
      io += Duration{io_of(with, l).ns * pace.loads / 1'000'000};
      compute = std::max(io, compute) + Duration{layer(with, l).ns * pace.computes / 1'000'000};
    }
    out.loss = world_.accuracy.loss(with.depth, with.bits);
    out.end = compute;
    return out;
  }
  Status revise(std::span<const ShardEdit> edits, std::string_view) override {
    for (const ShardEdit& edit : edits)
      if (edit.shard.layer <= loaded_) return Error{ErrorCode::kInvalid, "already loaded"};
    for (const ShardEdit& edit : edits) farthest = std::max(farthest, edit.shard.layer - loaded_);
    apply(edits, plan_);
    for (int l = 0; l < plan_.depth; ++l)
      if (!world_.shape.legal_width(slice_count(plan_.slice_set(l)))) return Error{ErrorCode::kInvalid, "width"};
    ++revisions;
    return {};
  }

  void ended(Policy& policy, int task, Duration started, Duration planned, Duration at) {
    policy.on_event(
        {Event::Kind::kTaskEnded, at, world_.budgets, static_cast<TaskId>(task), started, at, at, planned, planned, {}},
        *this);
  }

  // Runs the request with reads that take `percent` (of each layer) of what was expected; its end.
  Duration run(Policy& policy, const std::vector<int>& percent) {
    policy.on_event({Event::Kind::kBegan, {}, world_.budgets, kNoTask, {}, {}, {}, {}, {}, {}}, *this);
    int64_t measured = 0, expected = 0;
    for (int l = 0; l < plan_.depth; ++l) {
      const Duration started = now_, planned = io_of(plan_, l);
      const Duration took{planned.ns * percent[static_cast<size_t>(l) % percent.size()] / 100};
      now_ += took;
      compute_ = std::max(now_, compute_) + slowed(layer(plan_, l));
      loaded_ = l;
      measured += took.ns;
      expected += planned.ns;
      pace_.loads = expected == 0 ? 1'000'000 : measured * 1'000'000 / expected;
      if (l > 0) ended(policy, plan_.depth + l - 1, now_ - slowed(layer(plan_, l - 1)), layer(plan_, l - 1), now_);
      ended(policy, l, started, planned, now_);
    }
    return compute_;
  }
  // Every layer's compute takes `percent` of what was expected.
  void slow_computes(int percent) {
    compute_percent_ = percent;
    pace_.computes = percent * int64_t{10'000};
  }
  int revisions = 0;
  int farthest = 0;  // layers beyond the last loaded that an edit touched

 private:
  void apply(std::span<const ShardEdit> edits, Plan& plan) const {
    for (const ShardEdit& edit : edits)
      plan.bits[static_cast<size_t>(edit.shard.layer) * plan.slices + edit.shard.slice] = edit.bits;
  }
  Duration io_of(const Plan& plan, int l) const {
    int64_t bytes = 0;
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      if (plan.bits_of(id) != kAbsent) bytes += world_.shape.bytes_of(id, plan.bits_of(id)).n;
    }
    return {static_cast<int64_t>(static_cast<double>(bytes) * world_.costs.ns_per_byte)};
  }
  Duration slowed(Duration time) const { return {time.ns * compute_percent_ / 100}; }
  Duration layer(const Plan& plan, int l) const { return {world_.costs.layer[slice_count(plan.slice_set(l))]}; }

  const World& world_;
  FakeReplay replay_;
  PlanningView view_;
  Plan plan_;
  TaskGraph graph_;
  Pace pace_;
  int loaded_ = -1;
  Duration now_, compute_;
  int compute_percent_ = 100;
};

World board() {
  World world = sti_board();
  world.budgets.latency = milliseconds(800);
  world.budgets.preload = Bytes{0};
  world.costs.ns_per_byte *= 2;
  return world;
}

struct Ran {
  Duration end;
  Micro before, after;
  int revisions = 0;
  int farthest = 0;
  int dropped = 0, lowered = 0, unsound = 0;  // shards; unsound: lowered to bits that lose more than absence
};

Ran run(const World& world, const std::vector<int>& percent, int compute_percent = 100) {
  register_policies();
  const auto policy = policies().find("elastic")->make();
  const Plan plan = plan_of("elastic", world);
  ScriptedEditor editor(world, plan);
  if (compute_percent != 100) editor.slow_computes(compute_percent);
  Ran out;
  out.before = world.accuracy.loss(plan.depth, plan.bits);
  out.end = editor.run(*policy, percent);
  out.after = world.accuracy.loss(editor.plan().depth, editor.plan().bits);
  out.revisions = editor.revisions;
  out.farthest = editor.farthest;
  for (size_t i = 0; i < plan.bits.size(); ++i) {
    const ShardId id{static_cast<int16_t>(i / plan.slices), static_cast<int16_t>(i % plan.slices)};
    const Bits bits = editor.plan().bits[i];
    if (bits >= plan.bits[i]) continue;
    ++(bits == kAbsent ? out.dropped : out.lowered);
    out.unsound += id.slice >= world.shape.widths.front() &&
                   world.accuracy.loss_delta(id, bits) > world.accuracy.loss_delta(id, kAbsent);
  }
  return out;
}

TEST(Replan, LowersWhatIsNotLoadedWhereReadsComeSlower) {
  const World world = board();
  const Ran ran = run(world, {200});
  EXPECT_LE(ran.end, world.budgets.latency);
  EXPECT_GT(ran.revisions, 0);
  EXPECT_GT(ran.after, ran.before);
}

TEST(Replan, RaisesWhatIsNotLoadedWhereReadsComeFaster) {
  World world = board();
  world.budgets.latency = milliseconds(2500);  // even at half the bandwidth, lower bits would keep it
  const Ran ran = run(world, {60});
  EXPECT_LE(ran.end, world.budgets.latency);
  EXPECT_GT(ran.revisions, 0);
  EXPECT_LT(ran.after, ran.before);
}

TEST(Replan, KeepsTheDeadlineWhileBandwidthSwings) {
  const World world = board();
  for (const auto& swing :
       std::vector<std::vector<int>>{{67, 200}, {200, 67}, {67, 67, 67, 67, 67, 200, 200}, {100, 150, 200}})
    EXPECT_LE(run(world, swing).end, world.budgets.latency) << swing[0] << " % first";
}

TEST(Replan, LeavesLaterLayersToTheirTurn) {
  const Ran ran = run(board(), {200});
  EXPECT_EQ(ran.farthest, 1) << "what is known then decides; what was left out could not come back";
}

TEST(Replan, TakesNoBitsThatLoseMoreThanAbsence) {
  World world = board();
  world.accuracy.prefixes_only = true;
  for (int l = 0; l < world.shape.layers; ++l)
    for (int j = world.shape.widths.front(); j < world.shape.slices; ++j) {
      Micro* row = &world.accuracy.sensitivity[(static_cast<size_t>(l) * world.shape.slices + j) * kBitsLevels];
      for (const Bits bits : {world.shape.bitwidths[0], world.shape.bitwidths[1]}) row[bits_level(bits)] = {row[0].n * 2};
    }
  const Ran ran = run(world, {300});
  EXPECT_GT(ran.dropped + ran.lowered, 0);
  EXPECT_EQ(ran.unsound, 0);
}

TEST(Replan, DropsSlicesAndLowersNoBitsWhereComputesAreSlow) {
  World world = board();
  world.costs.ns_per_byte /= 50;
  const Ran ran = run(world, {100}, 130);
  EXPECT_GT(ran.dropped, 0);
  EXPECT_EQ(ran.lowered, 0);
}

TEST(Replan, IsSwitchedOffByItsKnob) {
  register_policies();
  const auto policy = policies().find("elastic")->make();
  EXPECT_TRUE(policy->replans({}));
  EXPECT_FALSE(policy->replans({{"replan", "off"}}));
}

TEST(Replan, LeavesTheRestAloneWhereNothingCanChange) {
  World world = board();
  world.bits = Bits{2};
  const Ran ran = run(world, {100});
  EXPECT_EQ(ran.after, ran.before);
}

}  // namespace
}  // namespace tessera::testing
