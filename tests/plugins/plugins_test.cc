// Plug-ins as users meet them: the built command, with good ones and with one of each fault on TESSERA_PLUGIN_PATH.
#include "scheduler/plugins.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/plugin.h"
#include "scheduler/plugin_probe.h"
#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A plug-in of that name: one that was built so, else a copy of the one that takes its fault from its name.
std::string built(const std::string& name) {
  static const TemporaryFolder folder;
  const std::string plugins = std::string(TESSERA_BINARY_DIR) + "/plugins/";
  if (fs::exists(plugins + name + ".so")) return plugins + name + ".so";
  if (!fs::exists(folder / name + ".so")) fs::copy(plugins + "faulty.so", folder / name + ".so");
  return fs::canonical(folder / name + ".so");
}
std::vector<std::string> with(const std::string& path) { return {"TESSERA_PLUGIN_PATH=" + path}; }

// Generous budgets: the machine under test may be slow.
ToolRun answer(const std::string& plugins, const std::string& policy) {
  return tessera({"run", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB", "--policy", policy, "w5"},
                 with(plugins));
}

nlohmann::json named(const nlohmann::json& list, const std::string& name) {
  for (const auto& entry : list)
    if (entry["name"] == name) return entry;
  return nullptr;
}

TEST(Plugins, APolicyIsListedWithItsFileAndDecides) {
  const ToolRun list = tessera({"policies", "--format", "json"}, with(built("least-read")));
  ASSERT_EQ(list.code, 0) << list.err;
  EXPECT_EQ(named(list.json()["policies"], "least-read")["source"], built("least-read"));
  EXPECT_EQ(named(list.json()["policies"], "sti")["source"], "policies/sti.cc");
  EXPECT_THAT(list.err, IsEmpty());
  const ToolRun run = answer(built("least-read"), "least-read");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("by least-read"));
}

// Lines without their indentation.
std::vector<std::string> bare_lines(const std::string& path) {
  std::vector<std::string> out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    out.push_back(line.substr(std::min(line.size(), line.find_first_not_of(' '))));
  return out;
}

TEST(Plugins, WhatTheReadmeOfPoliciesShowsIsInOneThatIsBuiltAndDecides) {
  const std::string source = TESSERA_SOURCE_DIR;
  const std::vector<std::string> readme = bare_lines(source + "/policies/README.md");
  const std::vector<std::string> code = bare_lines(source + "/tests/plugins/fixtures/one_bitwidth.cc");
  int blocks = 0;
  for (auto at = readme.begin(); (at = std::find(at, readme.end(), "```cpp")) != readme.end(); ++blocks) {
    const auto end = std::find(++at, readme.end(), "```");
    EXPECT_NE(std::search(code.begin(), code.end(), at, end), code.end()) << "from: " << *at;
    at = end;
  }
  EXPECT_EQ(blocks, 2);
  const ToolRun run = answer(built("one-bitwidth"), "one-bitwidth");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("by one-bitwidth"));
}

TEST(Plugins, ABackendsDeviceIsListedWithItsReason) {
  const ToolRun list = tessera({"backends", "--format", "json"}, with(built("absent")));
  ASSERT_EQ(list.code, 0) << list.err;
  const nlohmann::json backend = named(list.json()["backends"], "absent");
  EXPECT_EQ(backend["source"], built("absent"));
  EXPECT_EQ(backend["devices"][0]["available"], false);
  EXPECT_EQ(backend["devices"][0]["why"], "no such card in any slot");
  EXPECT_EQ(list.json()["plugins"][0]["backends"][0], "absent");
  EXPECT_THAT(tessera({"backends"}, with(built("absent"))).out, HasSubstr(built("absent") + ": absent0 (npu) unavailable"));
}

TEST(Plugins, NoneAreLookedForWithoutAPath) {
  const ToolRun list = tessera({"policies", "--format", "json"});
  EXPECT_THAT(list.json()["plugins"], IsEmpty());
}

TEST(Plugins, EveryLibraryInAFolderIsTriedOnce) {
  const TemporaryFolder folder;
  fs::copy(built("least-read"), folder / "b.so");
  fs::copy(built("plain"), folder / "a.so");
  std::ofstream(folder / "notes.txt") << "no library";
  const ToolRun list = tessera({"policies", "--format", "json"}, with(folder.path() + "::" + folder / "b.so"));
  const nlohmann::json plugins = list.json()["plugins"];
  ASSERT_EQ(plugins.size(), 2U) << plugins;
  EXPECT_EQ(plugins[0]["policies"][0], "a");
  EXPECT_EQ(plugins[1]["policies"][0], "least-read");
}

// What is wrong, and what must be said of it.
struct Fault {
  const char* plugin;
  std::vector<const char*> says;
};

void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.plugin; }

class Faults : public ::testing::TestWithParam<Fault> {};

TEST_P(Faults, AreRefusedByNameAndTheCpuStillAnswers) {
  const Fault& fault = GetParam();
  const ToolRun run = answer(built(fault.plugin), "sti");
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("warning"), HasSubstr(built(fault.plugin) + " is refused: ")));
  for (const char* text : fault.says) EXPECT_THAT(run.err, HasSubstr(text));
  const ToolRun list = tessera({"policies"}, with(built(fault.plugin)));
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.out, AllOf(HasSubstr("sti"), HasSubstr("refused plug-in " + built(fault.plugin))));
}

#if defined(__SANITIZE_ADDRESS__)
constexpr const char* kCrash = "while it was loaded";  // the sanitizer makes an exit of the signal
#else
constexpr const char* kCrash = "crashed while it was loaded: Segmentation fault (signal 11)";
#endif

INSTANTIATE_TEST_SUITE_P(
    , Faults,
    ::testing::Values(Fault{"crashes-on-load", {kCrash}}, Fault{"crashes-on-registration", {kCrash}},
                      Fault{"exits", {"ended the process while it was loaded (exit code 3)"}},
                      Fault{"throws", {"threw while registering: no such luck"}},
                      Fault{"lacks-a-symbol", {"undefined symbol", "a_function_of_another_version"}},
                      Fault{"registers-nothing", {"registers nothing"}}, Fault{"has-no-door", {"has no tessera_plugin()"}},
                      Fault{"is-not-ours", {"is not tessera's"}},
                      Fault{"has-another-api", {"plug-in API 4711", "this is API 1", "build it again"}},
                      Fault{"has-another-compiler", {"g++ 9, libstdc++ 9", TESSERA_TOOLCHAIN, "build it again"}},
                      Fault{"has-another-layout",
                            {"lays out the contracts differently", "tessera " TESSERA_VERSION, "build it again"}},
                      Fault{"lies", {"registers policy 'lies' that calls itself 'another'"}},
                      Fault{"takes-a-name", {"policy 'sti' is taken by policies/sti.cc"}},
                      Fault{"has-a-bad-name", {"registers 'a name, with blanks'"}}),
    [](const auto& at) {
      std::string name = at.param.plugin;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST(Plugins, OneThatHangsIsGivenUp) {
  const Status status = probe_plugin(built("hangs"), milliseconds(200));
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("was not loaded within 200"));
}

TEST(Plugins, AFileThatIsNoLibraryIsRefused) {
  const TemporaryFolder folder;
  std::ofstream(folder / "text.so") << std::string(5000, 'x');
  std::ofstream(folder / "empty.so");
  fs::create_directory(folder / "folder.so");
  const ToolRun list = tessera({"policies"}, with(folder.path()));
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.err, AllOf(HasSubstr(folder / "text.so is refused: invalid ELF header"),
                              HasSubstr(folder / "empty.so is refused: file too short"), HasSubstr(folder / "folder.so")));
}

TEST(Plugins, APlaceThatIsNotThereIsNamed) {
  const ToolRun list = tessera({"policies"}, with("/nonexistent/plugins"));
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.err, AllOf(HasSubstr("/nonexistent/plugins is refused: no such file"), HasSubstr("TESSERA_PLUGIN_PATH")));
}

// Bytes that the good fixture has written: one each time that it registered.
size_t registrations(const std::string& plugin, const std::string& log, const std::string& cache) {
  fs::remove(log);
  const ToolRun run =
      tessera({"policies"}, {"TESSERA_PLUGIN_PATH=" + plugin, "TESSERA_FIXTURE_LOG=" + log, "XDG_CACHE_HOME=" + cache});
  EXPECT_THAT(run.out, HasSubstr("never finds a plan")) << run.err;
  return fs::exists(log) ? fs::file_size(log) : 0;
}

TEST(Plugins, OneIsTriedInAChildOnlyWhileItIsNew) {
  const TemporaryFolder folder;
  const std::string plugin = folder / "mine.so", log = folder / "log", cache = folder / "cache";
  fs::copy(built("plain"), plugin);
  EXPECT_EQ(registrations(plugin, log, cache), 2U) << "tried, then loaded";
  EXPECT_EQ(registrations(plugin, log, cache), 1U) << "known";
  fs::remove(plugin);
  fs::copy(built("plain"), plugin);
  EXPECT_EQ(registrations(plugin, log, cache), 2U) << "another file of that name";
  for (const auto& entry : fs::directory_iterator(folder / "cache/tessera/plugins"))
    std::ofstream(entry.path(), std::ios::trunc) << "{damaged";
  EXPECT_EQ(registrations(plugin, log, cache), 2U) << "a damaged record is none";
  EXPECT_EQ(registrations(plugin, log, "/proc/nowhere"), 2U) << "a cache that cannot be written";
}

TEST(Plugins, TheLayoutIsTheSameInEveryLibraryOfABuild) {
  const auto opened = open_plugin(built("plain"));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->policies.entries().size(), 1U);
  EXPECT_EQ(opened->policies.entries()[0].source, built("plain"));
}

}  // namespace
}  // namespace tessera::testing
