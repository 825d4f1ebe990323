// Tests the suite itself: declarations, the judge of excuses, the counts.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/conformance/report.h"
#include "tests/support/tiny_model.h"

namespace tessera::conformance {
namespace {

TEST(Declarations, EveryRegisteredBackendHasOne) {
  for (const std::string& name : built_in_backends())
    EXPECT_EQ(std::count_if(declarations().begin(), declarations().end(),
                            [&](const Declaration* d) { return d->backend == name; }),
              1)
        << "backends/" << name << "/conformance.cc must declare exactly one, under its registered name";
}

TEST(Declarations, ExcusesNameChecksAndGiveReasons) {
  std::vector<const Declaration*> all = declarations();
  for (const Subject& subject : subjects()) all.push_back(subject.declaration);  // those of loaded backends, too
  std::erase(all, nullptr);
  for (const Declaration* declaration : all) {
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
  EXPECT_EQ(verdict(fails, &not_yet), Verdict::kExpectedFailure);
  EXPECT_EQ(verdict(passes, &not_yet), Verdict::kFailed) << "a stale excuse fails";
  EXPECT_EQ(verdict(fails, &plain, false), Verdict::kSkipped) << "an absent device is skipped, never passed";
  EXPECT_EQ(verdict(passes, nullptr), Verdict::kFailed) << "an undeclared backend fails";
}

TEST(PluginDeclaration, ComesFromAFileBesideTheLibrary) {
  const testing::TemporaryFolder folder;
  const std::string search = "/nowhere:" + folder / "libmine.so";
  EXPECT_EQ(declaration_of_plugin("mine", search).tolerance, 1e-4) << "the default";
  testing::spill(folder / "mine.conformance.json",
                 R"({"tolerance": 0.5, "unsupported": {"CancelReturns": "no such call"}, "expected_failures": {}})");
  const Declaration mine = declaration_of_plugin("mine", search);
  EXPECT_EQ(mine.tolerance, 0.5);
  ASSERT_EQ(mine.unsupported.size(), 1u);
  EXPECT_EQ(mine.unsupported[0].test, "CancelReturns");
  EXPECT_EQ(declaration_of_plugin("mine", folder.path()).tolerance, 0.5) << "folders are searched, too";
}

TEST(PluginDeclaration, ExcusesNothingWhereItIsDamaged) {
  const testing::TemporaryFolder folder;
  for (const char* text :
       {"", "{", "[]", "{\"tolerance\": \"much\"}", "{\"tolerence\": 1}", "{\"unsupported\": {\"A\": 1}}"}) {
    testing::spill(folder / "mine.conformance.json", text);
    const Declaration mine = declaration_of_plugin("mine", folder.path());
    EXPECT_EQ(mine.tolerance, 0) << text;
    ASSERT_EQ(mine.expected_failures.size(), 1u) << text;
    EXPECT_EQ(mine.expected_failures[0].test, folder / "mine.conformance.json") << "an excuse of no check: it fails";
  }
}

TEST(Summary, CountsByDeviceAndReason) {
  Report report;
  Subject one, two;
  one.description.name = "one0", two.description.name = "two0";
  report.add(one, {"A", For::kEvery, passes}, {Verdict::kPassed, ""});
  report.add(one, {"B", For::kEvery, passes}, {Verdict::kSkipped, "no such unit\nmore"});
  report.add(one, {"C", For::kEvery, passes}, {Verdict::kSkipped, "no such unit"});
  report.add(two, {"A", For::kEvery, fails}, {Verdict::kExpectedFailure, "rounding"});
  EXPECT_EQ(report.text(),
            "one0                        1 passed    2 skipped    0 expected failures    0 failed\n"
            "    skipped B, C: no such unit\n"
            "two0                        0 passed    0 skipped    1 expected failures    0 failed\n"
            "    expected failure A: rounding\n");
}

}  // namespace
}  // namespace tessera::conformance
