// Reads --policy, narrows the tests to it, and watches the clock.
#include "tests/conformance/policy_subjects.h"

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdio>
#include <sstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "framework/registry.h"

namespace tessera::conformance {
namespace {

constexpr unsigned kTestSeconds = 120;

std::vector<std::string>& wanted() {
  static std::vector<std::string> names;
  return names;
}

char g_running[160] = "";  // read by the signal's handler

extern "C" void on_alarm(int) {
  constexpr std::string_view kWhat = "\nno answer within 120 s (does decide() ever return?): ";
  (void)!::write(STDOUT_FILENO, kWhat.data(), kWhat.size());
  size_t length = 0;
  while (length < sizeof g_running && g_running[length] != '\0') ++length;
  (void)!::write(STDOUT_FILENO, g_running, length);
  (void)!::write(STDOUT_FILENO, "\n", 1);
  _exit(1);
}

class Watch : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& test) override {
    std::snprintf(g_running, sizeof g_running, "%s.%s", test.test_suite_name(), test.name());
    ::alarm(kTestSeconds);
  }
  void OnTestEnd(const ::testing::TestInfo&) override { ::alarm(0); }
};

}  // namespace

Status want_policies(std::string_view names) {
  std::istringstream list{std::string(names)};
  const std::vector<std::string> known = policies().names();
  std::vector<std::string> given;
  for (std::string name; std::getline(list, name, ',');) given.push_back(name);
  for (const std::string& name : given) {
    if (name == "plugins") {
      for (const auto& entry : policies().entries())
        if (!entry.source.starts_with("policies/")) wanted().push_back(entry.name);
    } else if (std::find(known.begin(), known.end(), name) != known.end()) {
      wanted().push_back(name);
    } else {
      return Error{ErrorCode::kInvalid, unknown_name("policy", name, known) +
                                            "; one of your own: TESSERA_PLUGIN_PATH names the folder that it is built in"};
    }
  }
  if (wanted().empty())
    return Error{ErrorCode::kInvalid, "--policy names none; write --policy=NAME,... or --policy=plugins"};
  return {};
}

const std::vector<std::string>& wanted_policies() { return wanted(); }

std::string test_name(const std::string& policy) {
  std::string name = policy;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

std::string filter_for_policies(const std::string& filter) {
  constexpr const char* kSuites[] = {"*/PolicyConformance.*/", "*/PolicyInRandomWorlds.*/"};
  std::string list;
  if (wanted().empty()) {
    for (const char* suite : kSuites) list += (list.empty() ? "" : ":") + std::string(suite) + "*";
    return filter + (filter.find('-') == std::string::npos ? "-" : ":") + list;
  }
  if (filter != "*") return filter;
  for (const std::string& policy : wanted())
    for (const char* suite : kSuites) list += (list.empty() ? "" : ":") + std::string(suite) + test_name(policy);
  return list;
}

void end_tests_that_hang() {
  std::signal(SIGALRM, on_alarm);
  ::testing::UnitTest::GetInstance()->listeners().Append(new Watch);
}

}  // namespace tessera::conformance
