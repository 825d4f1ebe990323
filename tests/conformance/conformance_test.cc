// Runs every check on every device; a backend's excuses decide what red means.
#include <algorithm>
#include <cctype>
#include <ostream>

#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/conformance/contract_checks.h"

namespace tessera::conformance {

const std::vector<Check>& checks() {
  static const std::vector<Check> all = {
      {"DescribesItself", For::kEvery, describes_itself},
      {"SaysWhyNot", For::kEvery, says_why_not},
      {"EstimatesSanely", For::kEvery, estimates_sanely},
      {"AllocatesAligned", For::kEvery, allocates_aligned},
      {"RefusesAbsurdSizes", For::kEvery, refuses_absurd_sizes},
      {"TransfersRoundTrip", For::kEvery, transfers_round_trip},
      {"WaitKeepsItsDeadline", For::kEvery, wait_keeps_its_deadline},
      {"CancelReturns", For::kEvery, cancel_returns},
      {"RunsTaskAfterTask", For::kEvery, runs_task_after_task},
      {"LoadsAndChecks", For::kStorage, loads_and_checks},
      {"ReportsBadLoads", For::kStorage, reports_bad_loads},
      {"Embeds", For::kCompute, embeds},
      {"Attends", For::kCompute, attends},
      {"FeedsForward", For::kCompute, feeds_forward},
      {"Combines", For::kCompute, combines},
      {"RunsFusedLayers", For::kCompute, runs_fused_layers},
      {"Exits", For::kCompute, exits},
      {"SplitEqualsFused", For::kCompute, split_equals_fused},
      {"BatchEqualsSingles", For::kCompute, batch_equals_singles},
  };
  return all;
}

namespace {

// Every check that is for the device, on every device.
struct Case {
  const Subject* subject;
  const Check* check;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Subject& subject : subjects())
    for (const Check& check : checks())
      if (applies(check, subject)) all.push_back({&subject, &check});
  return all;
}

std::string case_name(const testing::TestParamInfo<Case>& at) {
  std::string name = at.param.subject->description.name + "_" + at.param.check->name;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

class Conformance : public testing::TestWithParam<Case> {};

TEST_P(Conformance, Of) {
  const Judgement judgement = judge(*GetParam().subject, *GetParam().check);
  if (judgement.verdict == Verdict::kSkipped) GTEST_SKIP() << judgement.text;
  if (judgement.verdict == Verdict::kFailed) FAIL() << judgement.text;
}

INSTANTIATE_TEST_SUITE_P(, Conformance, testing::ValuesIn(cases()), case_name);

void PrintTo(const Case& at, std::ostream* out) { *out << at.subject->description.name << ", " << at.check->name; }

TEST(Declarations, EveryRegisteredBackendHasOne) {
  for (const auto& entry : backends().entries())
    EXPECT_EQ(std::count_if(declarations().begin(), declarations().end(),
                            [&](const Declaration* d) { return d->backend == entry.name; }),
              1)
        << "backends/" << entry.name << "/conformance.cc must declare exactly one, under its registered name";
}

TEST(Declarations, ExcusesNameChecksAndGiveReasons) {
  for (const Declaration* declaration : declarations()) {
    for (const auto* list : {&declaration->unsupported, &declaration->expected_failures}) {
      for (const Excuse& excuse : *list) {
        EXPECT_FALSE(excuse.why.empty()) << declaration->backend << ": " << excuse.test;
        EXPECT_TRUE(std::any_of(checks().begin(), checks().end(), [&](const Check& c) { return c.name == excuse.test; }))
            << declaration->backend << " excuses '" << excuse.test << "', which is no check";
      }
    }
  }
}

// The judge itself.
Finding passes(const Subject&) { return {}; }
Finding fails(const Subject&) {
  Finding f;
  f.expect(false, "broken");
  return f;
}

Verdict verdict(Finding (*run)(const Subject&), const Declaration* declaration, bool available = true) {
  Subject subject;
  subject.declaration = declaration;
  subject.description.available = available;
  return judge(subject, {"Check", For::kEvery, run}).verdict;
}

TEST(Judge, HoldsBackendsToTheirExcuses) {
  const Declaration plain, cannot{.unsupported = {{"Check", "no such unit"}}, .expected_failures = {}},
      not_yet{.unsupported = {}, .expected_failures = {{"Check", "rounding"}}};
  EXPECT_EQ(verdict(passes, &plain), Verdict::kPassed);
  EXPECT_EQ(verdict(fails, &plain), Verdict::kFailed);
  EXPECT_EQ(verdict(fails, &cannot), Verdict::kSkipped);
  EXPECT_EQ(verdict(fails, &not_yet), Verdict::kSkipped);
  EXPECT_EQ(verdict(passes, &not_yet), Verdict::kFailed) << "a stale excuse fails";
  EXPECT_EQ(verdict(fails, &plain, false), Verdict::kSkipped) << "an absent device is skipped, never passed";
  EXPECT_EQ(verdict(passes, nullptr), Verdict::kFailed) << "an undeclared backend fails";
}

}  // namespace
}  // namespace tessera::conformance
