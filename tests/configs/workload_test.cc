// Tests that workloads are read exactly, and that every mistake is named with its file and line.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "configs/loader.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kWorkloads = std::string(TESSERA_SOURCE_DIR) + "/configs/workloads/";

constexpr const char* kGood = R"(name = "test"
source = "made up"
memory = "64 MiB"
latency_grid = "2 ms"
hopeless = "drop"

[[app]]
name = "keyboard"
model = "stores/sst2"
data = "dev.tsv"
latency = "30 ms"
preload = "1 MiB"
tokens = 16
preloaded = false
reclaimed_after = "5 min"

[app.arrivals]
kind = "bursts"
requests = 20
first = "1 s"
interval = "8 s"
burst = [4, 12]
step = ["150 ms", "400 ms"]

[[app]]
name = "mail"
shape = "../models/bert-base.toml"
latency_percent = 250

[app.arrivals]
kind = "recorded"
file = "mail.times"
)";

class WorkloadFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("tessera_workload_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    write("mail.times", "# since it began\n0 s\n 1.5 s # the second\r\n\n1.5 s\n1 min\n");
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name, std::ios::binary) << text; }
  Result<Workload> load(const std::string& text) {
    write("w.toml", text);
    return load_workload((folder_ / "w.toml").string());
  }
  // The message where `from` is replaced by `to`.
  std::string error(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    const auto workload = load(text.replace(at, from.size(), to));
    return workload.ok() ? "it was read" : workload.error().message;
  }
  std::string times_error(const std::string& times) {
    write("mail.times", times);
    const auto workload = load(kGood);
    return workload.ok() ? "it was read" : workload.error().message;
  }
  fs::path folder_;
};

TEST_F(WorkloadFile, IsReadAsItIsWritten) {
  const auto workload = load(kGood);
  ASSERT_TRUE(workload.ok()) << workload.error().message;
  EXPECT_EQ(workload->name, "test");
  EXPECT_EQ(workload->source, "made up");
  EXPECT_EQ(workload->memory, mib(64));
  EXPECT_EQ(workload->latency_grid, milliseconds(2));
  EXPECT_EQ(workload->hopeless, Workload::Hopeless::kDrop);
  ASSERT_EQ(workload->apps.size(), 2u);
  const WorkloadApp& app = workload->apps[0];
  EXPECT_EQ(app.name, "keyboard");
  EXPECT_EQ(app.model, (folder_ / "stores/sst2").string());
  EXPECT_EQ(app.data, (folder_ / "dev.tsv").string());
  EXPECT_EQ(app.latency, milliseconds(30));
  EXPECT_EQ(app.preload, mib(1));
  EXPECT_EQ(app.tokens, 16);
  EXPECT_FALSE(app.preloaded);
  EXPECT_EQ(app.reclaimed_after, milliseconds(300'000));
  EXPECT_EQ(app.arrivals.kind, Arrivals::Kind::kBursts);
  EXPECT_EQ(app.arrivals.requests, 20);
  EXPECT_EQ(app.arrivals.first, milliseconds(1000));
  EXPECT_EQ(app.arrivals.interval, milliseconds(8000));
  EXPECT_EQ(app.arrivals.burst_least, 4);
  EXPECT_EQ(app.arrivals.burst_most, 12);
  EXPECT_EQ(app.arrivals.step_least, milliseconds(150));
  EXPECT_EQ(app.arrivals.step_most, milliseconds(400));
}

TEST_F(WorkloadFile, WhatIsNotGivenIsTheExperimentsOrPlain) {
  const auto workload =
      load("name = \"w\"\n[[app]]\nname = \"a\"\n[app.arrivals]\nkind = \"poisson\"\ninterval = \"2 s\"\nrequests = 3\n");
  ASSERT_TRUE(workload.ok()) << workload.error().message;
  EXPECT_EQ(workload->memory, std::nullopt);
  EXPECT_EQ(workload->hopeless, Workload::Hopeless::kBestEffort);
  EXPECT_EQ(workload->latency_grid, milliseconds(1));
  const WorkloadApp& app = workload->apps[0];
  EXPECT_TRUE(app.model.empty() && app.shape.empty() && app.data.empty());
  EXPECT_EQ(app.latency, std::nullopt);
  EXPECT_EQ(app.latency_percent, 100);
  EXPECT_EQ(app.preload, std::nullopt);
  EXPECT_TRUE(app.preloaded);
  EXPECT_EQ(app.reclaimed_after, std::nullopt);
  EXPECT_EQ(app.arrivals.kind, Arrivals::Kind::kPoisson);
}

TEST_F(WorkloadFile, RecordedTimesComeFromTheFileBesideIt) {
  const auto workload = load(kGood);
  ASSERT_TRUE(workload.ok()) << workload.error().message;
  const Arrivals& recorded = workload->apps[1].arrivals;
  EXPECT_EQ(recorded.kind, Arrivals::Kind::kRecorded);
  EXPECT_EQ(recorded.requests, 4);
  EXPECT_EQ(recorded.times, (std::vector<Duration>{{}, milliseconds(1500), milliseconds(1500), milliseconds(60'000)}));
  EXPECT_THAT(error("file = \"mail.times\"", "file = \"mail.times\"\nrequests = 5"),
              HasSubstr("w.toml:33: requests = 5 is out of range; 1 to 4"));
}

TEST_F(WorkloadFile, MistakesInRecordedTimesAreNamed) {
  EXPECT_THAT(times_error("1 s\n0.5 s\n"), HasSubstr("mail.times:2: '0.5 s' is before the line above it"));
  EXPECT_THAT(times_error("1 s\n2\n"), HasSubstr("mail.times:2: '2' has no unit; write 2ms"));
  EXPECT_THAT(times_error("1 s\n\nsoon\n"), HasSubstr("mail.times:3: 'soon' is not a duration"));
  EXPECT_THAT(times_error("-1 s\n"), HasSubstr("mail.times:1: '-1 s' is negative"));
  EXPECT_THAT(times_error("1e9 min\n"), HasSubstr("mail.times:1: '1e9 min'"));
  EXPECT_THAT(times_error(std::string("\0\xff\n", 3)), HasSubstr("mail.times:1: "));
  EXPECT_THAT(times_error("# nothing\n\n"), HasSubstr("mail.times: holds no times"));
  EXPECT_THAT(times_error(""), HasSubstr("mail.times: holds no times"));
  EXPECT_THAT(times_error(std::string(17 << 20, '\n')), HasSubstr("mail.times: larger than 16 MiB"));
  fs::remove(folder_ / "mail.times");
  EXPECT_THAT(load(kGood).error().message, HasSubstr("mail.times: no such file of recorded times"));
  fs::create_directory(folder_ / "mail.times");
  EXPECT_THAT(load(kGood).error().message, HasSubstr("mail.times: no such file of recorded times"));
}

TEST_F(WorkloadFile, MistakesAreNamedWithTheirLine) {
  EXPECT_THAT(error("kind = \"bursts\"", "kind = \"burst\""),
              HasSubstr("w.toml:18: unknown kind of arrivals 'burst'; known: regular, poisson, bursts, recorded"));
  EXPECT_THAT(error("hopeless = \"drop\"", "hopeless = \"wait\""), HasSubstr("w.toml:5: unknown way"));
  EXPECT_THAT(error("interval = \"8 s\"", "interval = 8"), HasSubstr("w.toml:21: interval: '8' has no unit; write 8ms"));
  EXPECT_THAT(error("interval = \"8 s\"", "interval = \"2000 min\""), HasSubstr("w.toml:21: interval is above an hour"));
  EXPECT_THAT(error("interval = \"8 s\"\n", ""), HasSubstr("key 'interval' is missing; write interval = \"10 s\""));
  EXPECT_THAT(error("burst = [4, 12]", "burst = [12, 4]"), HasSubstr("w.toml:22: burst must be [least, most]"));
  EXPECT_THAT(error("burst = [4, 12]", "burst = [4]"), HasSubstr("w.toml:22: burst must be [least, most]"));
  EXPECT_THAT(error("burst = [4, 12]", "burst = [0, 4]"), HasSubstr("w.toml:22: burst must be a list of whole numbers"));
  EXPECT_THAT(error("[\"150 ms\", \"400 ms\"]", "[\"400 ms\", \"150 ms\"]"), HasSubstr("w.toml:23: step must be"));
  EXPECT_THAT(error("[\"150 ms\", \"400 ms\"]", "[\"150\", \"400 ms\"]"), HasSubstr("w.toml:23: step: '150' has no unit"));
  EXPECT_THAT(error("[\"150 ms\", \"400 ms\"]", "\"150 ms\""), HasSubstr("w.toml:23: step must be a list of texts"));
  EXPECT_THAT(error("requests = 20", "requests = 0"), HasSubstr("w.toml:19: requests = 0 is out of range"));
  EXPECT_THAT(error("requests = 20", "requests = 100000"), HasSubstr("the apps make 100004 requests, more than 100000"));
  EXPECT_THAT(error("name = \"mail\"", "name = \"keyboard\""), HasSubstr("w.toml:26: there are two apps named 'keyboard'"));
  EXPECT_THAT(error("latency = \"30 ms\"", "latency = \"30 ms\"\nlatency_percent = 3"),
              HasSubstr("w.toml:12: latency and latency_percent are two budgets"));
  EXPECT_THAT(error("data = \"dev.tsv\"", "shape = \"b.toml\""), HasSubstr("w.toml:10: model and shape are two models"));
  EXPECT_THAT(error("latency_percent = 250", "data = \"dev.tsv\""), HasSubstr("w.toml:28: a shape has no weights"));
  EXPECT_THAT(error("model = \"stores/sst2\"", "model = \"\""), HasSubstr("w.toml:9: model is empty"));
  EXPECT_THAT(error("latency_grid = \"2 ms\"", "latency_grid = \"0 ms\""), HasSubstr("w.toml:4: latency_grid is 0"));
  EXPECT_THAT(error("preloaded = false", "preloaded = 0"), HasSubstr("w.toml:14: preloaded must be true or false"));
  EXPECT_THAT(error("tokens = 16", "token = 16"), HasSubstr("w.toml:13: unknown key 'token'; did you mean 'tokens'?"));
  EXPECT_THAT(error("first = \"1 s\"", "frist = \"1 s\""),
              HasSubstr("w.toml:20: unknown key 'frist'; did you mean 'first'?"));
  EXPECT_THAT(error("[app.arrivals]", "[app.arrival]"), HasSubstr("table [arrivals] is missing"));
  EXPECT_THAT(error("source = \"made up\"", "sources = 1"), HasSubstr("w.toml:2: unknown key 'sources'"));
}

TEST_F(WorkloadFile, NothingAndRubbishAreErrors) {
  EXPECT_THAT(load("").error().message, HasSubstr("key 'name' is missing"));
  EXPECT_THAT(load("name = \"w\"\n").error().message, HasSubstr("needs at least one app, [[app]]"));
  EXPECT_THAT(load("name = \"w\"\napp = 3\n").error().message, HasSubstr("w.toml:2: app must be tables, [[app]]"));
  EXPECT_FALSE(load(std::string("name = \"\0\xff\"", 12)).ok());
  for (const char* header : {"[[[a]]]\n", "[=]\n", "[[", "["}) EXPECT_FALSE(load(header).ok()) << header;
  EXPECT_FALSE(load_workload("/nonexistent/w.toml").ok());
  EXPECT_FALSE(load_workload(folder_.string()).ok());
}

// The files that are shipped, whichever they are: they are read, say where their figures are from, and have what the
// tournament needs.
TEST_F(WorkloadFile, EveryShippedOneIsRead) {
  std::vector<std::string> names;
  bool three_models = false, recorded = false;
  for (const auto& file : fs::directory_iterator(kWorkloads)) {
    if (file.path().extension() != ".toml") continue;
    const auto workload = load_workload(file.path());
    ASSERT_TRUE(workload.ok()) << workload.error().message;
    EXPECT_FALSE(workload->source.empty()) << file.path();
    names.push_back(workload->name);
    three_models |= workload->apps.size() == 3;
    for (const WorkloadApp& app : workload->apps) {
      recorded |= app.arrivals.kind == Arrivals::Kind::kRecorded;
      if (app.shape.empty()) continue;
      const auto shape = load_shape(app.shape);
      EXPECT_TRUE(shape.ok()) << shape.error().message;
    }
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"cold-starts", "typing", "voice-assistant", "phone", "recorded"}));
  EXPECT_TRUE(three_models);
  EXPECT_TRUE(recorded);
}

}  // namespace
}  // namespace tessera
