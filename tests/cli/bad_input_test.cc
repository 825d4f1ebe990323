// Bad arguments, files and texts: the exit code and what the message must name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Generous budgets: the machine under test may be slow.
std::vector<std::string> run_with(std::vector<std::string> more) {
  std::vector<std::string> arguments{"run", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Arguments, NoCommandShowsTheCommands) {
  const ToolRun run = tessera({});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("tessera COMMAND"));
}

TEST(Arguments, AnUnknownCommandNamesTheNearest) {
  const ToolRun run = tessera({"evla"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("unknown command 'evla'"), HasSubstr("'eval'"), HasSubstr("verify")));
}

TEST(Arguments, AnUnknownFlagNamesTheNearest) {
  const ToolRun run = tessera({"run", "--latancy", "20ms"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("'--latancy'"), HasSubstr("did you mean '--latency'")));
}

TEST(Arguments, ABareLatencyLacksItsUnit) {
  const ToolRun run = tessera({"run", "--latency", "20"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("--latency"), HasSubstr("20ms")));
}

TEST(Arguments, ABareMemoryLacksItsUnit) {
  const ToolRun run = tessera({"run", "--memory", "8388608"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("--memory"), HasSubstr("unit")));
}

TEST(Arguments, AnUnknownFormatListsTheKnown) {
  const ToolRun run = tessera({"policies", "--format", "jsn"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("'json'"), HasSubstr("table")));
}

TEST(Arguments, AnUnknownPolicyNamesTheNearest) {
  const ToolRun run = tessera(run_with({"w5", "--policy", "stj"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("unknown policy 'stj'"), HasSubstr("'sti'")));
}

TEST(Arguments, AnUnknownKnobListsTheKnown) {
  const ToolRun run = tessera(run_with({"w5", "--set", "no-such-knob=1"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("no-such-knob"));
}

TEST(Arguments, AnUnknownDeviceListsTheKnown) {
  const ToolRun run = tessera(run_with({"w5", "--devices", "cpu7"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("cpu7"), HasSubstr("cpu0")));
}

TEST(Arguments, ADeviceInHostMemoryHasNoBudgetOfItsOwn) {
  const ToolRun run = tessera(run_with({"w5", "--memory", "cpu0=64MiB"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("cpu0"), HasSubstr("host")));
}

TEST(Arguments, AMissingPlatformFileIsNamed) {
  const ToolRun run = tessera(run_with({"w5", "--virtual", "--platform", "/nonexistent/board.toml"}));
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("/nonexistent/board.toml"));
}

TEST(Arguments, ADepthBeyondTheModelNamesItsExits) {
  const ToolRun run = tessera(run_with({"w5", "--depth", "7"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("--depth 7"), HasSubstr("1, 2")));
}

TEST(Arguments, AWidthBeyondTheModelNamesItsWidths) {
  const ToolRun run = tessera(run_with({"w5", "--width", "5"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("--width 5"), HasSubstr("1, 2, 3, 4")));
}

TEST(Arguments, NineBitsAreNoBitwidth) {
  const ToolRun run = tessera(run_with({"w5", "--bits", "9"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("'9'"), HasSubstr("32")));
}

TEST(Arguments, ABitwidthThatIsNotStoredTellsHowToStoreIt) {
  const ToolRun run = tessera(run_with({"w5", "--bits", "7"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("--bits 7"), HasSubstr("--store-bits")));
}

TEST(Arguments, ADescribedMachineNeedsVirtualTime) {
  const ToolRun run = tessera(run_with({"w5", "--platform", "board.toml"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("--virtual"));
}

TEST(Arguments, TwoSourcesOfTextsAreRefused) {
  const ToolRun run = tessera(run_with({"w5", "--pair", "w6", "w7"}));
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("three sources"));
}

TEST(Arguments, ANumberMustBeOneAndInRange) {
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"eval", "--data", "x.tsv", "--limit", "0"},
                                             {"run", "--seed", "-1"},
                                             {"run", "--depth", "x"},
                                             {"run", "--lanes", "-1"}}) {
    const ToolRun run = tessera(wrong);
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_THAT(run.err,
                AllOf(HasSubstr("'" + wrong.back() + "' is not a whole number"), HasSubstr(wrong[wrong.size() - 2])));
  }
}

TEST(Arguments, ABandwidthThatCalibrationWouldNotEndAtIsRefused) {
  for (const char* rate : {"0MB/s", "1B/s", "999kB/s"}) {
    const ToolRun run = tessera({"run", "--bandwidth", rate});
    EXPECT_EQ(run.code, 2) << rate;
    EXPECT_THAT(run.err, AllOf(HasSubstr("--bandwidth"), HasSubstr("1MB/s")));
  }
}

TEST(Arguments, AnEmptyPathIsNotNone) {
  for (const char* flag : {"--model", "--input", "--trace", "--platform"}) {
    const ToolRun run = tessera({"run", flag, ""});
    EXPECT_EQ(run.code, 2) << flag;
    EXPECT_THAT(run.err, HasSubstr(flag));
  }
  EXPECT_EQ(tessera({"verify", ""}).code, 2);
}

TEST(Stores, AMissingStoreTellsHowToMakeOne) {
  const ToolRun run = tessera({"run", "w5", "--model", "/nonexistent/store"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, AllOf(HasSubstr("/nonexistent/store"), HasSubstr("tessera shard")));
}

TEST(Stores, AFileIsNoStore) {
  const TemporaryFolder folder;
  spill(folder / "file", "not a store");
  for (const char* command : {"run", "eval", "verify"}) {
    std::vector<std::string> arguments{command, folder / "file"};
    if (command == std::string("run")) arguments = {"run", "w5", "--model", folder / "file"};
    if (command == std::string("eval")) arguments.insert(arguments.end(), {"--data", folder / "file"});
    const ToolRun run = tessera(arguments);
    EXPECT_EQ(run.code, 4) << command;
    EXPECT_THAT(run.err, HasSubstr(folder / "file")) << command;
  }
}

TEST(Stores, AnEmptyFolderIsNoStore) {
  const TemporaryFolder folder;
  const ToolRun run = tessera({"run", "w5", "--model", folder.path()});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr(folder.path()));
}

TEST(Stores, AFlippedByteIsFoundByVerify) {
  const TinyStore tiny = make_tiny_store();
  std::string index = slurp(tiny.directory + "/index");
  ASSERT_FALSE(index.empty());
  index[index.size() / 2] = static_cast<char>(index[index.size() / 2] ^ 1);
  spill(tiny.directory + "/index", index);
  const ToolRun run = tessera({"verify", tiny.directory});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("index"));
}

TEST(Stores, AnExistingStoreIsReplacedOnlyByForce) {
  const TemporaryFolder folder;
  ASSERT_EQ(tessera({"shard", tiny_checkpoint(), folder / "store"}).code, 0);
  const ToolRun again = tessera({"shard", tiny_checkpoint(), folder / "store"});
  EXPECT_NE(again.code, 0);
  EXPECT_THAT(again.err, HasSubstr("--force"));
  EXPECT_EQ(tessera({"shard", tiny_checkpoint(), folder / "store", "--force"}).code, 0);
  EXPECT_EQ(tessera({"verify", folder / "store"}).code, 0);
}

TEST(Data, AMissingFileIsNamed) {
  const ToolRun run = tessera({"eval", tiny_store(), "--data", "/nonexistent/dev.tsv"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("/nonexistent/dev.tsv"));
}

TEST(Data, AFolderIsNoTsv) {
  const ToolRun run = tessera({"eval", tiny_store(), "--data", "/tmp"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("/tmp"));
}

TEST(Data, ATsvWithoutHeaderNamesTheColumns) {
  const TemporaryFolder folder;
  spill(folder / "data.tsv", "w5 w6\t1\nw7\t0\n");
  const ToolRun run = tessera({"eval", tiny_store(), "--data", folder / "data.tsv"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, AllOf(HasSubstr("data.tsv"), HasSubstr("sentence")));
}

TEST(Data, ATsvWithoutRowsIsRefused) {
  const TemporaryFolder folder;
  spill(folder / "data.tsv", "sentence\tlabel\n");
  const ToolRun run = tessera({"eval", tiny_store(), "--data", folder / "data.tsv"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("data.tsv"));
}

TEST(Data, ControlCharactersStayOutOfTheTerminal) {
  const TemporaryFolder folder;
  spill(folder / "data.tsv", "\x1b[31mred\tlabel\n");
  const ToolRun run = tessera({"eval", tiny_store(), "--data", folder / "data.tsv"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, AllOf(HasSubstr("[31mred"), Not(HasSubstr("\x1b"))));
}

TEST(Data, ADeviceIsNoTsv) {
  const ToolRun run = tessera({"eval", tiny_store(), "--data", "/dev/zero"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("/dev/zero: is a device"));
}

TEST(Budgets, NoTimeIsInfeasibleAndNamesTheNearest) {
  const ToolRun run = tessera({"run", "w5", "--model", tiny_store(), "--latency", "0ms", "--memory", "1GiB"});
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, AllOf(HasSubstr("infeasible"), HasSubstr("nearest"), HasSubstr("--latency")));
}

TEST(Budgets, AKibibyteIsInfeasibleAndNamesTheNearest) {
  const ToolRun run =
      tessera({"run", "w5", "--model", tiny_store(), "--latency", "10s", "--memory", "1KiB", "--format", "json"});
  EXPECT_EQ(run.code, 3);
  const auto json = run.json();
  EXPECT_FALSE(json["feasible"].get<bool>());
  EXPECT_TRUE(json["plan"].is_null());
  EXPECT_THAT(json["results"], IsEmpty());
  EXPECT_GT(json["nearest"]["memory_bytes"].get<int64_t>(), 1024);
  EXPECT_TRUE(json["nearest"]["latency_ms"].is_null());
}

TEST(Budgets, TheNearestMemoryWorks) {
  const ToolRun refused =
      tessera({"run", "w5", "--model", tiny_store(), "--latency", "10s", "--memory", "1KiB", "--format", "json"});
  ASSERT_EQ(refused.code, 3);
  const std::string memory = std::to_string(refused.json()["nearest"]["memory_bytes"].get<int64_t>()) + "B";
  EXPECT_EQ(tessera({"run", "w5", "--model", tiny_store(), "--latency", "10s", "--memory", memory}).code, 0);
}

TEST(Texts, AnEmptyTextIsAnsweredWithAWarning) {
  const ToolRun run = tessera(run_with({"", "--format", "json"}));
  EXPECT_EQ(run.code, 0);
  EXPECT_THAT(run.err, HasSubstr("empty"));
  EXPECT_EQ(run.json()["results"][0]["tokens"], 2);
}

TEST(Texts, AHundredThousandCharactersAreCut) {
  std::string text;
  while (text.size() < 100'000) text += "w5 w6 w7 ";
  const ToolRun run = tessera(run_with({text, "--format", "json"}));
  EXPECT_EQ(run.code, 0);
  EXPECT_TRUE(run.json()["results"][0]["truncated"].get<bool>());
}

TEST(Texts, OneWordOfAHundredThousandCharactersIsUnknown) {
  EXPECT_EQ(tessera(run_with({std::string(100'000, 'w')})).code, 0);
}

TEST(Texts, InvalidUtf8IsReadAsReplacements) {
  const ToolRun run = tessera(run_with({"w5 \xff\xfe w6 \xc3", "--format", "json"}));
  EXPECT_EQ(run.code, 0);
  EXPECT_THAT(run.json()["results"][0]["text"].get<std::string>(), HasSubstr("\xEF\xBF\xBD"));
}

TEST(Texts, APairIsOneRequest) {
  const ToolRun run = tessera(run_with({"--pair", "w5 [w6]", "[w7, w8]", "--format", "json"}));
  ASSERT_EQ(run.code, 0) << run.err;
  ASSERT_EQ(run.json()["results"].size(), 1U);
  EXPECT_EQ(run.json()["results"][0]["text_b"], "[w7, w8]");
}

TEST(Texts, ATextMayStartWithADashAfterTwo) {
  EXPECT_EQ(tessera(run_with({"-5 stars"})).code, 2);
  const ToolRun run = tessera(run_with({"--format", "json", "--", "-5 stars", "--bits"}));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.json()["results"].size(), 2U);
}

TEST(Texts, BracketsAreText) {
  const ToolRun run = tessera(run_with({"[w5, w6]", "--format", "json"}));
  EXPECT_EQ(run.code, 0);
  ASSERT_EQ(run.json()["results"].size(), 1U);
  EXPECT_EQ(run.json()["results"][0]["text"], "[w5, w6]");
}

TEST(Output, AFullDiskBehindStdoutIsAnError) {
  // /dev/full refuses every write.
  const ToolRun run = tessera(run_with({"w5", "--trace", "/dev/full"}));
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("/dev/full"));
}

TEST(Output, ATraceInAMissingFolderIsNamed) {
  const ToolRun run = tessera(run_with({"w5", "--trace", "/nonexistent/trace.json"}));
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("/nonexistent/trace.json"));
}

TEST(Output, ErrorsAreJsonTooWhereJsonIsAskedFor) {
  const ToolRun run = tessera({"run", "w5", "--model", "/nonexistent/store", "--format", "json"});
  EXPECT_EQ(run.code, 4);
  EXPECT_EQ(run.json()["error"]["code"], "data");
}

TEST(Output, WrongUseIsJsonTooWhereJsonIsAskedFor) {
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {"run", "--latency", "20", "--format", "json"}, {"run", "--format=json", "--latancy"}}) {
    const ToolRun run = tessera(wrong);
    EXPECT_EQ(run.code, 2);
    EXPECT_EQ(run.json()["error"]["code"], "invalid");
  }
}

}  // namespace
}  // namespace tessera::testing
