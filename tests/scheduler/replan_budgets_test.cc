// Re-plans requests whose budgets change while they run: what memory grants, what it takes back, what answers are held
// against.
#include <thread>

#include "replan_cases.h"

namespace tessera {
namespace {

using testing::Described;
using testing::plain_plan;
using testing::Script;
using testing::script_plain;
using testing::scripted;
using testing::whole_layer;
using Kind = Event::Kind;

TEST(ReplanBudgets, RefusesWhatMemoryCouldNotGrantAndTakesWhatItCan) {
  Described d;
  script_plain(3, 12, 4);
  RequestOptions options = scripted();
  const Bytes peak = d.run(options).planned->plan.predicted.peak;
  d.open();
  options.budgets.memory = peak;
  Script::now().on_event = [](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBegan) return;
    const std::vector<ShardEdit> grow = whole_layer(editor.plan(), 1, kExact);
    const Status refused = editor.revise(grow, "");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kInfeasible) << refused.error().message;
    std::vector<ShardEdit> trade = whole_layer(editor.plan(), 0, 2);
    trade.push_back({{1, 0}, 6});
    EXPECT_TRUE(editor.revise(trade, "").ok());
  };
  const Answer answer = d.run(options);
  EXPECT_LE(answer.peak, peak);
  EXPECT_EQ(answer.executed->plan.bits_of({1, 0}), 6);
}

TEST(ReplanBudgets, AChangedBudgetIsHeardAtItsInstantAndHeldAgainstTheAnswer) {
  Described d;
  script_plain(6, 12, 6);
  RequestOptions options = scripted();
  options.budgets.latency = milliseconds(2);
  Budgets tighter = options.budgets, last = options.budgets;
  tighter.latency = microseconds(700);
  last.latency = microseconds(750);
  options.budget_changes = {{milliseconds(9), options.budgets}, {microseconds(123), tighter}, {microseconds(200), last}};
  std::vector<std::pair<Duration, Duration>> heard;
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBudgetChanged) return;
    heard.push_back({event.now, event.budgets.latency});
    if (heard.size() > 1) return;
    for (const PendingLoad& load : editor.pending())
      EXPECT_TRUE(editor.revise(whole_layer(editor.plan(), load.layer, 2), "less time").ok());
  };
  const Answer answer = d.run(options);
  EXPECT_EQ(heard, (std::vector<std::pair<Duration, Duration>>{{microseconds(123), microseconds(700)},
                                                               {microseconds(200), microseconds(750)}}));
  EXPECT_EQ(answer.budgets.latency, microseconds(750));
  EXPECT_EQ(answer.io, answer.planned->plan.predicted.io - kib(4) * 4 * 48);
  EXPECT_EQ(answer.late, answer.latency - microseconds(750));
  EXPECT_EQ(answer.revisions.size(), 4u);
  EXPECT_EQ(answer.revisions[0].at, microseconds(123));
}

TEST(ReplanBudgets, AnswersOfAnyPolicyAreHeldAgainstTheBudgetsAtTheirEnd) {
  Described d;
  script_plain(2, 12, 6);
  RequestOptions options = scripted();
  options.budget_changes = {{microseconds(50), {microseconds(100), kUnlimited, {}}}};
  const Answer answer = d.run(options);
  EXPECT_EQ(answer.late, answer.latency - microseconds(100));
  options.budget_changes[0].after = answer.latency + nanoseconds(1);
  d.open();
  EXPECT_EQ(d.run(options).late, Duration{}) << "it had answered before";
  options.budget_changes[0].after = nanoseconds(-1);
  EXPECT_FALSE(d.session->run(options, {2, 2}, {0, 0}).ok());
  EXPECT_FALSE(d.session->change_budgets({}).ok()) << "nothing runs";
}

TEST(ReplanBudgets, LessMemoryHoldsOnceThePolicyMadeRoomForIt) {
  Described d;
  script_plain(4, 12, 6);
  RequestOptions options = scripted();
  const Bytes full = d.run(options).peak;
  const Answer low = d.run_decided(plain_plan(d.shape, 4, 12, 2), options);
  script_plain(4, 12, 6);
  options.budgets.memory = full;
  Budgets less = options.budgets;
  less.memory = low.peak + kib(4) * 72;  // room for a layer at 6 bits beside what is at 2
  options.budget_changes = {{microseconds(20), less}};
  bool refused = false;
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBudgetChanged) return;
    for (const PendingLoad& load : editor.pending())
      EXPECT_TRUE(editor.revise(whole_layer(editor.plan(), load.layer, 2), "less memory").ok());
    refused = !editor.revise(whole_layer(editor.plan(), 3, kExact), "more again").ok();
  };
  d.open();
  const Answer answer = d.run(options);
  EXPECT_TRUE(refused);
  EXPECT_LE(answer.peak, less.memory);
  EXPECT_GT(full, less.memory);
}

TEST(ReplanBudgets, MoreMemoryIsThereAtOnce) {
  Described d;
  script_plain(4, 12, 4);
  RequestOptions options = scripted();
  options.budgets.memory = d.run(options).peak;
  Budgets more = options.budgets;
  more.memory = kUnlimited;
  options.budget_changes = {{microseconds(20), more}};
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    const bool done = editor.revise(whole_layer(editor.plan(), 3, kExact), "").ok();
    if (event.kind == Kind::kTaskEnded) return;
    EXPECT_EQ(done, event.kind == Kind::kBudgetChanged);
  };
  d.open();
  const Answer answer = d.run(options);
  EXPECT_EQ(answer.executed->plan.bits_of({3, 7}), kExact);
  EXPECT_GT(answer.peak, options.budgets.memory);
}

TEST(ReplanBudgets, MemoryThatComesInThePolicysTurnIsNotSpentBeforeItIsThere) {
  Described d;
  script_plain(3, 12, 4);
  RequestOptions options = scripted();
  options.budgets.memory = d.run(options).planned->plan.predicted.peak;
  Budgets more = options.budgets;
  more.memory = kUnlimited;
  const auto change = [&](const Budgets& to) {
    std::thread([&] { EXPECT_TRUE(d.session->change_budgets(to).ok()); }).join();
  };
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBegan) return;
    change(more);
    EXPECT_FALSE(editor.revise(whole_layer(editor.plan(), 1, kExact), "").ok());
    change(options.budgets);  // gone before it was in force
  };
  d.open();
  EXPECT_EQ(d.run(options).executed->plan.bits_of({1, 0}), 4);
}

TEST(ReplanBudgets, MemoryThatCameAndWentLeavesTheAnswerThatItBought) {
  Described d;
  script_plain(6, 12, 4);
  RequestOptions options = scripted();
  options.budgets.memory = d.run(options).peak;
  Budgets more = options.budgets;
  more.memory = kUnlimited;
  options.budget_changes = {{microseconds(20), more}, {microseconds(570), options.budgets}};  // layer 1 is done by then
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.now != microseconds(20)) return;
    EXPECT_TRUE(editor.revise(whole_layer(editor.plan(), 1, kExact), "").ok());
  };
  d.open();
  const Answer answer = d.run(options);
  ASSERT_NE(answer.executed, nullptr);
  EXPECT_EQ(answer.executed->plan.bits_of({1, 7}), kExact);
  EXPECT_EQ(answer.budgets.memory, options.budgets.memory);
}

}  // namespace
}  // namespace tessera
