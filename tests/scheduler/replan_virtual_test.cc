// Re-plans requests in virtual time, where everything is exact: events, forecasts, edits and what comes of them.
#include <gmock/gmock.h>

#include "replan_cases.h"

namespace tessera {
namespace {

using testing::Described;
using testing::edited;
using ::testing::HasSubstr;
using testing::plain_plan;
using testing::Script;
using testing::script_plain;
using testing::scripted;
using testing::whole_layer;
using Kind = Event::Kind;

// At the first event, or when the load of `after` has ended.
void script_edits(std::vector<ShardEdit> edits, int after = -1) {
  Script::now().on_event = [edits, after](const Event& event, PlanEditor& editor) {
    const bool now = after < 0 ? event.kind == Kind::kBegan
                               : event.kind == Kind::kTaskEnded && testing::loads_layer(editor, event.task, after);
    if (!now) return;
    const Status done = editor.revise(edits, "as scripted");
    EXPECT_TRUE(done.ok()) << done.error().message;
  };
}

TEST(ReplanVirtual, TellsOfEachTaskInOrderUpToTheLastLoadOfShards) {
  Described d;
  script_plain(2, 12, 4);
  std::vector<std::string> heard;
  std::vector<Duration> times;
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    heard.push_back(event.kind == Kind::kBegan ? "began" : editor.graph().name(event.task));
    times.push_back(event.now);
    if (event.kind != Kind::kTaskEnded) return;
    EXPECT_EQ(event.now, event.predicted_end) << heard.back();
    EXPECT_EQ(event.now, event.expected_end);
    EXPECT_EQ(event.now, event.started + event.planned);
  };
  const Answer answer = d.run();
  EXPECT_EQ(heard, (std::vector<std::string>{"began", "rows", "embed", "load L0 4b [0-11]", "load L1 4b [0-11]"}));
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
  EXPECT_EQ(times.back(), microseconds(9 + 48 + 48));
  EXPECT_EQ(answer.executed, answer.planned);
  EXPECT_TRUE(answer.revisions.empty());
}

TEST(ReplanVirtual, IsNotAskedWhereThePolicyDoesNotReplanOrNothingIsLoaded) {
  Described d;
  Script::now().preload = [](const PlanningView& view) -> Result<Residency> {
    Residency all;
    for (int16_t j = 0; j < 12; ++j) all.shards.push_back({{0, j}, 2, false, view.shape.bytes_of({0, j}, 2)});
    return all;
  };
  script_plain(1, 12, 2);
  int asked = 0;
  Script::now().on_event = [&](const Event&, PlanEditor&) { ++asked; };
  ASSERT_TRUE(d.session->preload(scripted(), 8).ok());
  d.run();
  EXPECT_EQ(asked, 0);
}

TEST(ReplanVirtual, EditsOfWholeLoadsRunExactlyAsIfTheyHadBeenDecidedSo) {
  for (const Bits bits : {Bits{2}, Bits{6}, kExact}) {
    SCOPED_TRACE(static_cast<int>(bits));
    Described d;
    const Plan plan = plain_plan(d.shape, 4, 12, 4);
    script_plain(4, 12, 4);
    const std::vector<ShardEdit> edits = whole_layer(plan, 2, bits);
    script_edits(edits, 0);
    const Answer revised = d.run();
    const Answer decided = d.run_decided(edited(plan, edits));
    EXPECT_EQ(revised.latency, decided.latency);
    EXPECT_EQ(revised.io, decided.io);
    EXPECT_EQ(revised.peak, decided.peak);
    EXPECT_EQ(revised.executed->plan.bits, decided.planned->plan.bits);
    EXPECT_EQ(testing::text_of(revised.executed->plan.loads), testing::text_of(decided.planned->plan.loads));
    EXPECT_EQ(revised.executed->plan.predicted.latency, decided.planned->plan.predicted.latency);
    EXPECT_EQ(revised.executed->plan.predicted.expected, decided.planned->plan.predicted.expected);
    EXPECT_EQ(revised.executed->plan.predicted.io, decided.planned->plan.predicted.io);
    EXPECT_EQ(revised.executed->plan.predicted.loss, decided.planned->plan.predicted.loss);
    EXPECT_EQ(revised.planned->plan.bits, plan.bits) << "as decided";
    ASSERT_EQ(revised.revisions.size(), 1u);
    const Revision& r = revised.revisions[0];
    EXPECT_EQ(r.at, microseconds(9 + 48));
    EXPECT_EQ(r.layer, 2);
    EXPECT_EQ(r.slices, first_slices(12));
    EXPECT_EQ(r.from, 4);
    EXPECT_EQ(r.to, bits);
    EXPECT_EQ(r.why, "as scripted");
    for (TaskId id = 0; id < decided.report.tasks.size(); ++id)
      EXPECT_EQ(revised.report.tasks[id].end, decided.report.tasks[id].end) << decided.planned->graph.name(id);
  }
}

TEST(ReplanVirtual, ChangesSomeSlicesOfALoadAndLeavesOthersOut) {
  Described d;
  script_plain(3, 12, 4);
  const Plan plan = plain_plan(d.shape, 3, 12, 4);
  const std::vector<ShardEdit> edits{{{1, 0}, kExact}, {{1, 3}, 2}, {{2, 11}, kAbsent}, {{2, 10}, kAbsent}, {{2, 0}, 6}};
  script_edits(edits);
  const Answer revised = d.run();
  const Answer decided = d.run_decided(edited(plan, edits));
  EXPECT_EQ(revised.executed->plan.bits, decided.planned->plan.bits);
  EXPECT_EQ(revised.executed->plan.placement[2][0].slices, first_slices(10));
  EXPECT_EQ(testing::text_of(revised.executed->plan.loads), testing::text_of(decided.planned->plan.loads));
  EXPECT_EQ(revised.latency, decided.latency) << "a page takes as long in one load as in three";
  EXPECT_EQ(revised.io, decided.io);
  EXPECT_EQ(revised.executed->graph.name(4), "load L1 2b+4b+32b [0-11]");
  EXPECT_EQ(revised.revisions.size(), 4u) << "grouped by layer, from and to";
}

TEST(ReplanVirtual, ALoadWithNothingLeftTakesNoTimeAndNoMemory) {
  Described d;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 12, 4);
    plan.loads[2].slices = first_slices(6);  // of layer 1, in two loads
    plan.loads.insert(plan.loads.begin() + 3, {Op::kLoadShards, 1, 4, first_slices(12) & ~first_slices(6)});
    return Decision{plan};
  };
  std::vector<ShardEdit> edits;
  for (int16_t j = 6; j < 12; ++j) edits.push_back({{1, j}, kAbsent});
  script_edits(edits);
  const Answer revised = d.run();
  const Answer decided = d.run_decided(edited(revised.planned->plan, edits));
  EXPECT_EQ(revised.latency, decided.latency);
  EXPECT_EQ(revised.peak, decided.peak);
  EXPECT_EQ(revised.io, decided.io);
  const Task* empty = nullptr;
  for (const Task& task : revised.executed->graph.tasks()) empty = task.empty ? &task : empty;
  ASSERT_NE(empty, nullptr);
  EXPECT_EQ(revised.report.tasks[empty->id].start, revised.report.tasks[empty->id].end);
  EXPECT_EQ(revised.executed->plan.loads.size(), 4u);
}

TEST(ReplanVirtual, ForecastsWhatThenHappens) {
  Described d;
  script_plain(6, 12, 6);
  const Plan plan = plain_plan(d.shape, 6, 12, 6);
  const std::vector<ShardEdit> edits = whole_layer(plan, 4, 2);
  Forecast stays, would, pending_slow;
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kTaskEnded || !testing::loads_layer(editor, event.task, 1)) return;
    EXPECT_EQ(editor.pace().loads, 1'000'000);
    EXPECT_EQ(editor.pace().computes, 1'000'000);
    EXPECT_EQ(editor.pending().size(), 4u);
    EXPECT_EQ(editor.pending()[0].bytes, kib(4) * 72);
    EXPECT_EQ(editor.pending()[0].expected, microseconds(72));
    ASSERT_EQ(editor.running().size(), 1u);
    EXPECT_EQ(editor.graph().name(editor.running()[0].task), "layer L0");
    stays = editor.forecast({}, 0.5, {}).take();
    would = editor.forecast(edits, 0.5, editor.pace()).take();
    pending_slow = editor.forecast({}, 0.5, {10'000'000, 1'000'000}).take();
    EXPECT_TRUE(editor.revise(edits, "").ok());
  };
  const Answer answer = d.run();
  EXPECT_EQ(stays.end, answer.planned->plan.predicted.latency);
  EXPECT_EQ(would.end, answer.latency);
  EXPECT_EQ(would.loss, answer.executed->plan.predicted.loss);
  EXPECT_EQ(stays.io, kib(4) * (4 * 72 + 2));
  EXPECT_EQ(would.io, kib(4) * (3 * 72 + 24 + 2));
  EXPECT_EQ(pending_slow.loads_end, microseconds(9 + 2 * 72 + 4 * 720)) << "what has ended stays";
  EXPECT_EQ(pending_slow.end, pending_slow.loads_end + microseconds(120));
}

// ---- refusals

TEST(ReplanVirtual, RefusesNonsenseAndChangesNothing) {
  Described d;
  d.shape.widths = {6, 12};
  d.open();
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    return Decision{plain_plan(view.shape, 3, 12, 4, view.residency)};
  };
  Script::now().preload = [](const PlanningView& view) -> Result<Residency> {
    return Residency{{{{2, 5}, 4, false, view.shape.bytes_of({2, 5}, 4), kHostSpace}}, {}};
  };
  ASSERT_TRUE(d.session->preload(scripted(), 8).ok());
  int asked = 0;
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    ++asked;
    const auto refused = [&](std::vector<ShardEdit> edits, const char* why) {
      const Status status = editor.revise(edits, "nonsense");
      ASSERT_FALSE(status.ok()) << why;
      EXPECT_EQ(status.error().code, ErrorCode::kInvalid);
      EXPECT_THAT(status.error().message, HasSubstr(why));
      EXPECT_FALSE(editor.forecast(edits, 0.5, {}).ok());
    };
    refused({{{3, 0}, 2}}, "the plan has 3 layers of 12 slices");
    refused({{{-1, 0}, 2}}, "the plan has 3 layers");
    refused({{{0, 12}, 2}}, "the plan has 3 layers");
    refused({{{0, -7}, 2}}, "the plan has 3 layers");
    refused({{{1, 0}, 3}}, "the store has no version at 3 bits");
    refused({{{1, 0}, 77}}, "the store has no version at 77 bits");
    refused({{{1, 0}, kAbsent}}, "11 slices are not a legal width");
    refused({{{2, 5}, 2}}, "no load brings it");
    refused({{{1, 0}, 2}, {{1, 1}, 5}}, "the store has no version at 5 bits");  // all or none
    refused({{{1, 0}, kAbsent}, {{1, 0}, 2}}, "does not have it, or no longer");
    EXPECT_FALSE(editor.set_bits({1, 0}, 5));
    EXPECT_FALSE(editor.drop({1, 0}));
    if (event.kind == Kind::kTaskEnded && testing::loads_layer(editor, event.task, 1))
      refused({{{1, 0}, 2}}, "too late: 'load L1 4b [0-11]' has started");
    EXPECT_TRUE(editor.revise({}, "").ok()) << "nothing is nothing";
    const ShardEdit same{{2, 0}, 4};
    EXPECT_TRUE(editor.revise({&same, 1}, "").ok());
  };
  const Answer answer = d.run();
  EXPECT_GT(asked, 4);
  EXPECT_TRUE(answer.revisions.empty());
  EXPECT_EQ(answer.executed, answer.planned);
  EXPECT_EQ(answer.latency, answer.planned->plan.predicted.latency);
}

TEST(ReplanVirtual, KeepsToWhatTheRequestFixes) {
  Described d;
  script_plain(2, 12, 4);
  RequestOptions options = scripted();
  options.bits = 4;
  options.width = 12;
  Script::now().on_event = [](const Event&, PlanEditor& editor) {
    EXPECT_FALSE(editor.set_bits({1, 0}, 2));
    EXPECT_FALSE(editor.drop({1, 0}));
  };
  EXPECT_TRUE(d.run(options).revisions.empty());
}

TEST(ReplanVirtual, APartOfASplitLayerKeepsASlice) {
  Described d(2);
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 1, 3, 4);
    plan.placement[0] = {{1, 3}, {2, 4}};
    return Decision{plan};
  };
  Script::now().on_event = [](const Event&, PlanEditor& editor) {
    EXPECT_FALSE(editor.drop({0, 2}));
    editor.drop({0, 0});
  };
  const Answer answer = d.run();
  EXPECT_EQ(answer.executed->plan.placement[0][0].slices, 2u);
  EXPECT_EQ(answer.executed->plan.placement[0][1].slices, 4u);
}

TEST(ReplanVirtual, KeepsNoMoreThanThePreloadBudget) {
  Described d;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 12, 4);
    plan.keep = {{1, 0}, {1, 1}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = kib(4) * 10;
  Script::now().on_event = [](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBegan) return;
    EXPECT_FALSE(editor.set_bits({1, 0}, kExact));
    EXPECT_TRUE(editor.set_bits({1, 0}, 6));
    EXPECT_FALSE(editor.set_bits({1, 1}, 6));
    EXPECT_TRUE(editor.drop({1, 1}));
  };
  const Answer answer = d.run(options);
  EXPECT_EQ(answer.executed->plan.keep, (std::vector<ShardId>{{1, 0}}));
  ASSERT_EQ(d.session->residency().shards.size(), 1u);
  EXPECT_EQ(d.session->residency().shards[0].bits, 6);
  EXPECT_EQ(d.session->residency().shards[0].bytes, kib(4) * 6);
}

}  // namespace
}  // namespace tessera
