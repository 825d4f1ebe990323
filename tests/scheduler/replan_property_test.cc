// Edits drawn requests at random, nonsense included: everything ends, nothing is lost, and memory holds.
#include <bit>

#include "framework/random.h"
#include "placed_cases.h"
#include "replan_cases.h"
#include "scheduler/plan_check.h"

namespace tessera {
namespace {

using testing::Asked;
using testing::Script;
using Kind = Event::Kind;

// Equal on every machine.
struct Random {
  uint64_t state = 0;
  int64_t below(int64_t n) { return static_cast<int64_t>(splitmix64(state) % static_cast<uint64_t>(n)); }
};

std::vector<ShardEdit> draw_edits(Random& random, const PlanEditor& editor) {
  const Plan& plan = editor.plan();
  const bool nonsense = random.below(6) == 0;
  const std::vector<Bits>& ladder = editor.view().shape.bitwidths;
  std::vector<ShardEdit> edits;
  for (int64_t n = 1 + random.below(4); n > 0; --n) {
    ShardId id{static_cast<int16_t>(random.below(plan.depth)), static_cast<int16_t>(random.below(plan.slices))};
    if (nonsense) id = {static_cast<int16_t>(random.below(200) - 100), static_cast<int16_t>(random.below(200) - 100)};
    Bits bits = random.below(4) == 0 ? kAbsent : ladder[static_cast<size_t>(random.below(std::ssize(ladder)))];
    if (nonsense && random.below(2) == 0) bits = static_cast<Bits>(random.below(256));
    if (random.below(4) == 0 && !nonsense)
      for (const ShardEdit& one : testing::whole_layer(plan, id.layer, bits == kAbsent ? ladder[0] : bits))
        edits.push_back(one);
    else
      edits.push_back({id, bits});
  }
  return edits;
}

struct Drawn {
  explicit Drawn(uint64_t seed) : asked(testing::drawn(seed)) {
    machine.platform = asked.platform;
    machine.virtual_time = true;
    machine.costs = std::make_shared<CostBook>();
    for (size_t d = 0; d < asked.platform.devices.size(); ++d)
      machine.costs->set_guess(static_cast<DeviceId>(d), [this](const CostKey& key) { return asked.costs->estimate(key); });
    session = Session::open(asked.shape, nullptr, asked.accuracy, machine, {}).take();
    options.policy = "scripted";
    options.budgets = asked.budgets;
    options.budgets.latency = kForever;
    options.seed = seed;
    options.quantile = asked.quantile;
  }
  Asked asked;
  Machine machine;
  std::unique_ptr<Session> session;
  RequestOptions options;
};

// Legal as a plan decided so would be, and its graph gives back all that it takes but what it keeps.
void expect_whole(const Drawn& d, const Answer& answer, const Residency& before) {
  const PlannedRequest& run = *answer.executed;
  const ReplayContext context{d.asked.shape,  d.asked.accuracy, d.asked.platform,
                              *d.asked.costs, before,           0,
                              d.asked.tokens, kUnlimited,       d.asked.shape.resident_bytes};
  const GraphReplay replay(context);
  const auto replayed = replay.replay_fully(run.plan);
  ASSERT_TRUE(replayed.ok()) << replayed.error().message;
  PlanningView view = d.asked.view(replay);
  view.budgets = {kForever, kUnlimited, d.options.budgets.preload};
  view.bits = {};
  const Status legal = check_plan(view, "random", run.plan, *replayed, {});
  EXPECT_TRUE(legal.ok()) << legal.error().message;

  std::vector<int64_t> taken(d.asked.platform.memories.size()), kept(taken.size());
  for (size_t m = 0; m < run.residents.size(); ++m) taken[m] = run.residents[m].n;
  for (const Task& task : run.graph.tasks()) {
    EXPECT_GE(task.reserve, 0);
    EXPECT_GE(task.release, 0);
    taken[task.memory] += task.reserve;
    taken[task.release_memory] -= task.release;
  }
  kept[0] = d.asked.shape.exit_bytes[run.plan.depth - 1].n;
  for (const ShardId id : run.plan.keep) {
    const ResidentShard* held = before.find(id);
    const bool used = held != nullptr && run.plan.uses(d.asked.platform, *held);
    const SpaceId space = run.plan.space_of(d.asked.platform, id);
    const Bytes coded = d.asked.shape.bytes_of(id, run.plan.bits_of(id));
    kept[d.asked.platform.memory(space)] += (used && held->space == space ? held->bytes : coded).n;
  }
  if (!run.plan.keep_unused) { EXPECT_EQ(taken, kept); }
}

TEST(ReplanProperty, RandomEditsEndWithinMemoryAndLeaveNothingBehind) {
  testing::register_all();
  int ran = 0, revised = 0, refused = 0, exact = 0;
  for (uint64_t seed = 0; seed < 800; ++seed) {
    SCOPED_TRACE(seed);
    Script::now() = {};
    Drawn d(seed);
    Random random{seed};
    const std::unique_ptr<Policy> inner = policies().find("adversarial")->make();
    Script::now().decide = [&](const PlanningView& view) { return inner->decide(view); };
    Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
      if (random.below(3) == 0) return;
      const std::vector<ShardEdit> edits = draw_edits(random, editor);
      const auto would = editor.forecast(edits, 0.5, {1'000'000 + random.below(2'000'000), 1'000'000});
      const std::vector<Bits> bits = editor.plan().bits;
      const Status done = editor.revise(edits, "");
      if (!done.ok()) {
        ++refused;
        EXPECT_EQ(editor.plan().bits, bits);
      } else {
        EXPECT_TRUE(would.ok()) << would.error().message;
        EXPECT_GE(would->end, event.now);
      }
    };
    if (random.below(3) == 0) {
      Budgets other = d.options.budgets;
      other.memory = random.below(2) == 0 ? kUnlimited : kib(20 + random.below(3000));
      d.options.budget_changes = {{microseconds(random.below(2000)), other}};
    }
    for (int request = 0; request < 2; ++request) {
      const auto answer =
          d.session->run(d.options, std::vector<int32_t>(d.asked.tokens, 2), std::vector<int32_t>(d.asked.tokens, 0));
      const bool too_small = !answer.ok() && answer.error().message.find("not even the smallest") != std::string::npos;
      if (too_small) break;  // for a device's own memory
      ASSERT_TRUE(answer.ok()) << answer.error().message;
      if (answer->planned->infeasible) break;
      ++ran;
      revised += answer->revisions.empty() ? 0 : 1;
      Bytes memory = d.options.budgets.memory;
      for (const BudgetChange& change : d.options.budget_changes) memory = std::max(memory, change.budgets.memory);
      EXPECT_LE(answer->peak, memory);
      for (size_t m = 1; m < answer->peaks.size(); ++m) EXPECT_LE(answer->peaks[m], d.asked.platform.memories[m].capacity);
      for (const TaskTiming& timing : answer->report.tasks) EXPECT_EQ(timing.state, TaskState::kDone);
      if (request == 0) expect_whole(d, *answer, {});
      bool roomy = memory == kUnlimited && d.options.budget_changes.empty();
      for (size_t m = 1; m < d.asked.platform.memories.size(); ++m)
        roomy = roomy && d.asked.platform.memories[m].capacity == kUnlimited;
      if (!roomy) continue;
      ++exact;
      for (TaskId id = 0; id < answer->report.tasks.size(); ++id)
        EXPECT_EQ(answer->report.tasks[id].end, answer->executed->timeline.end[id]) << answer->executed->graph.name(id);
    }
  }
  EXPECT_GT(ran, 500);
  EXPECT_GT(revised, 250);
  EXPECT_GT(refused, 250);
  EXPECT_GT(exact, 100);
}

}  // namespace
}  // namespace tessera
