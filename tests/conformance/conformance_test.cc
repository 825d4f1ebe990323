// Runs every check on every device; a backend's excuses decide what red means.
//
// tests_conformance [--backend=NAME,...] [--report=FILE] [gtest's flags]: of these backends ("simulated", "plugins": those
// that TESSERA_PLUGIN_PATH brought; default: all); the counts at the end go to FILE, too. Exit code 77: all was skipped.
// tests_conformance --policy=NAME,... [gtest's flags]: of these policies instead ("plugins" as above).
#include <algorithm>
#include <cctype>
#include <fstream>
#include <iostream>
#include <ostream>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/conformance/contract_checks.h"
#include "tests/conformance/policy_subjects.h"
#include "tests/conformance/report.h"

namespace tessera {
void register_policies();
}

namespace tessera::conformance {

const std::vector<Check>& checks() {
  static const std::vector<Check> all = {
      {"DescribesItself", For::kEvery, describes_itself},
      {"SaysWhyNot", For::kEvery, says_why_not},
      {"EstimatesSanely", For::kEvery, estimates_sanely},
      {"EstimatesMovesSanely", For::kEvery, estimates_moves_sanely},
      {"CostModelsLearn", For::kCompute, cost_models_learn},
      {"AllocatesAligned", For::kMemory, allocates_aligned},
      {"RefusesAbsurdSizes", For::kMemory, refuses_absurd_sizes},
      {"KeepsItsCapacity", For::kMemory, keeps_its_capacity},
      {"GivesBackMemory", For::kMemory, gives_back_memory},
      {"TransfersRoundTrip", For::kMemory, transfers_round_trip},
      {"TransferTasksRoundTrip", For::kMoves, transfer_tasks_round_trip},
      {"TransferTasksKeepOrder", For::kMoves, transfer_tasks_keep_order},
      {"RefusesBadMoves", For::kMoves, refuses_bad_moves},
      {"RunsBesideItsDevice", For::kLink, runs_beside_its_device},
      {"WaitKeepsItsDeadline", For::kEvery, wait_keeps_its_deadline},
      {"WaitsInAnyOrder", For::kEvery, waits_in_any_order},
      {"CancelReturns", For::kEvery, cancel_returns},
      {"CancelsWhileWaitedFor", For::kReal, cancels_while_waited_for},
      {"RunsTaskAfterTask", For::kEvery, runs_task_after_task},
      {"RefusesUnknownDevices", For::kReal, refuses_unknown_devices},
      {"LoadsAndChecks", For::kStorage, loads_and_checks},
      {"ReportsBadLoads", For::kStorage, reports_bad_loads},
      {"Embeds", For::kCompute, embeds},
      {"Attends", For::kCompute, attends},
      {"FeedsForward", For::kCompute, feeds_forward},
      {"Combines", For::kCompute, combines},
      {"RunsFusedLayers", For::kCompute, runs_fused_layers},
      {"Exits", For::kCompute, exits},
      {"MixesBitwidths", For::kCompute, mixes_bitwidths},
      {"KeepsEdges", For::kCompute, keeps_edges},
      {"SplitEqualsFused", For::kCompute, split_equals_fused},
      {"OrderDoesNotMatter", For::kCompute, order_does_not_matter},
      {"BatchEqualsSingles", For::kCompute, batch_equals_singles},
      {"RunsAreRepeatable", For::kCompute, runs_are_repeatable},
      {"ThreadsDoNotMatter", For::kCompute, threads_do_not_matter},
      {"PlacesDoNotMatter", For::kCompute, places_do_not_matter},
      {"RefusesBadOperands", For::kCompute, refuses_bad_operands},
      {"StaysInside", For::kCompute, stays_inside},
      {"WorksInPlace", For::kCompute, works_in_place},
      {"KeepsResidentsById", For::kCompute, keeps_residents_by_id},
      {"HostWritesAreSeen", For::kCompute, host_writes_are_seen},
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
  const Subject& subject = *GetParam().subject;
  const Judgement judgement = judge(subject, *GetParam().check);
  Report::now().add(subject, *GetParam().check, judgement);
  if (judgement.verdict == Verdict::kSkipped) GTEST_SKIP() << judgement.text;
  if (judgement.verdict == Verdict::kExpectedFailure) GTEST_SKIP() << "expected failure: " << judgement.text;
  if (judgement.verdict == Verdict::kFailed) FAIL() << judgement.text;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Conformance);
INSTANTIATE_TEST_SUITE_P(, Conformance, testing::ValuesIn(cases()), case_name);

void PrintTo(const Case& at, std::ostream* out) { *out << at.subject->description.name << ", " << at.check->name; }

constexpr int kAllSkipped = 77;

// Whether a library on TESSERA_PLUGIN_PATH could not be loaded; says which.
bool tell_refused() {
  for (const std::string& refused : (built_in_backends(), refused_libraries())) std::cout << "refused: " << refused << "\n";
  return !refused_libraries().empty();
}

int run_policies(std::string_view names, int argc, char** argv) {
  narrow_to({"none"});  // no device is opened
  register_policies();  // before plug-ins: a name is taken by who comes first
  const bool refused = tell_refused();
  if (const Status wanted = want_policies(names); !wanted.ok()) {
    std::cout << wanted.error().message << "\n";
    return 2;
  }
  testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(filter, filter_for_policies(GTEST_FLAG_GET(filter)));
  end_tests_that_hang();
  const int result = RUN_ALL_TESTS();
  return result == 0 && refused ? 2 : result;
}

int run(int argc, char** argv) {
  std::string report_file;
  int nothing_there = 2;  // a name that is no backend's; that no plug-in is there is no mistake
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("--policy=")) return run_policies(word.substr(9), argc, argv);
    if (word.starts_with("--report=")) report_file = word.substr(9);
    if (!word.starts_with("--backend=")) continue;
    std::istringstream list{std::string(word.substr(10))};
    std::vector<std::string> names;
    for (std::string name; std::getline(list, name, ',');) names.push_back(name);
    if (names == std::vector<std::string>{"plugins"}) nothing_there = kAllSkipped;
    narrow_to(names);
  }
  if (tell_refused()) nothing_there = 2;
  if (subjects().empty()) {
    std::cout << "no such backend was built in or loaded (TESSERA_PLUGIN_PATH)\n";
    return nothing_there;
  }
  testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(filter, filter_for_policies(GTEST_FLAG_GET(filter)));
  const int result = RUN_ALL_TESTS();
  const std::string summary = Report::now().text();
  std::cout << summary;
  if (!report_file.empty()) std::ofstream(report_file) << summary;
  const bool nothing_ran = Report::now().passed() == 0 && Report::now().skipped() > 0;
  if (result == 0 && !refused_libraries().empty()) return 2;
  return result == 0 && nothing_ran ? kAllSkipped : result;
}

}  // namespace
}  // namespace tessera::conformance

int main(int argc, char** argv) { return tessera::conformance::run(argc, argv); }
