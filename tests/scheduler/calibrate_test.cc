// Tests that calibration measures what is there, keeps it, and is not misled by damaged files.
#include "scheduler/calibrate.h"

#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "calibrate_rig.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Calibrating;

TEST_F(Calibrating, MeasuresStorageAndComputes) {
  const Calibration c = calibrated();
  EXPECT_TRUE(c.measured);
  const Estimate io = machine_.costs->estimate(load(4096));
  EXPECT_EQ(io.provenance, Provenance::kRegression);
  EXPECT_GT(io.mean.ns, 0);
  EXPECT_LE(machine_.costs->estimate(load(4096)).mean, machine_.costs->estimate(load(1 << 20)).mean);
  EXPECT_EQ(machine_.costs->estimate(layer(8, 4, 2)).provenance, Provenance::kMeasured);
  for (Op op : {Op::kLayer, Op::kEmbed, Op::kExit}) EXPECT_GT((counting_->seen[{static_cast<int>(op), false}]), 2);
  EXPECT_GT((counting_->seen[{static_cast<int>(Op::kLayer), true}]), 2);
  EXPECT_EQ(counting_->buffers, 0) << "buffers that were not given back";
}

TEST_F(Calibrating, AsksTheBackendForWorkspaceBetweenMeasuredPoints) {
  calibrated();
  EXPECT_EQ(machine_.costs->estimate(layer(27, 3, 2)).workspace.n, 64 * 28);
}

TEST_F(Calibrating, ReadsItsFileTheSecondTime) {
  const Calibration first = calibrated();
  const Estimate io = machine_.costs->estimate(load(10'000));
  const Estimate compute = machine_.costs->estimate(layer(20, 3, 4));
  machine_ = new_machine();
  const Calibration second = calibrated();
  EXPECT_FALSE(second.measured);
  EXPECT_EQ(second.created, first.created);
  EXPECT_TRUE(counting_->seen.empty());
  EXPECT_EQ(machine_.costs->estimate(load(10'000)).mean, io.mean);
  EXPECT_EQ(machine_.costs->estimate(load(10'000)).p95, io.p95);
  EXPECT_EQ(machine_.costs->estimate(layer(20, 3, 4)).mean, compute.mean);
}

TEST_F(Calibrating, KeepsColdAndWarmApartAndMeasuresAnewWhenAsked) {
  const Calibration warm = calibrated();
  options_.cold = true;
  const Calibration cold = calibrated();
  EXPECT_TRUE(cold.measured);
  EXPECT_NE(cold.path, warm.path);
  options_.cold = false;
  EXPECT_FALSE(calibrated().measured);
  options_.again = true;
  EXPECT_TRUE(calibrated().measured);
  options_.again = false;
  options_.version = "another";
  EXPECT_TRUE(calibrated().measured);
}

TEST_F(Calibrating, IgnoresDamagedFilesAndMakesThemAgain) {
  const std::string path = calibrated().path;
  const std::string good = testing::slurp(path);
  const auto changed = [&](auto change) {
    json j = json::parse(good);
    change(j);
    return j.dump();
  };
  const std::vector<std::string> damaged = {
      "",
      "{",
      "[]",
      "null",
      "{\"tessera_calibration\": 1}",
      good.substr(0, good.size() / 2),
      std::string(100, '\0'),
      changed([](json& j) { j["tessera_calibration"] = 999; }),
      changed([](json& j) { j["fingerprint"] = "another machine"; }),
      changed([](json& j) { j.erase("devices"); }),
      changed([](json& j) { j["devices"][0]["storage"]["a"] = -1; }),
      changed([](json& j) { j["devices"][0]["storage"]["c"] = "fast"; }),
      changed([](json& j) { j["devices"][0]["storage"].erase("b"); }),
      changed([](json& j) { j["devices"][1]["points"][0]["mean_ns"] = 0; }),
      changed([](json& j) { j["devices"][1]["points"][0]["mean_ns"] = 1e300; }),
      changed([](json& j) { j["devices"][1]["points"][0]["op"] = 77; }),
      changed([](json& j) { j["devices"][1]["points"][0]["bits"] = 9; }),
      changed([](json& j) { j["devices"][1]["learned"] = 3; }),
  };
  for (const std::string& text : damaged) {
    testing::spill(path, text);
    machine_ = new_machine();
    EXPECT_TRUE(calibrated().measured) << text.substr(0, 200);
    machine_ = new_machine();
    EXPECT_FALSE(calibrated().measured);
  }
}

TEST_F(Calibrating, DoesNotWaitForAFifo) {
  const std::string path = calibrated().path;
  fs::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  machine_ = new_machine();
  EXPECT_TRUE(calibrated().measured);
  EXPECT_TRUE(fs::is_regular_file(path));
}

TEST_F(Calibrating, MeasuresLessOfSlowStorage) {
  options_.budget = {};  // every round takes longer
  machine_ = new_machine();
  ASSERT_TRUE(calibrated().measured);
  const int64_t few = machine_.costs->estimate(load(4096)).samples;
  EXPECT_GT(few, 0);
  options_.budget = milliseconds(2400);
  options_.again = true;
  machine_ = new_machine();
  ASSERT_TRUE(calibrated().measured);
  EXPECT_LT(few * 2, machine_.costs->estimate(load(4096)).samples);
}

TEST_F(Calibrating, GoesOnWhereTheFileCannotBeWritten) {
  const std::string blocked = cache_ / "file";
  testing::spill(blocked, "not a folder");
  options_.directory = blocked + "/tessera";
  const Calibration c = calibrated();
  EXPECT_TRUE(c.measured);
  EXPECT_TRUE(c.path.empty());
  EXPECT_TRUE(save_learned(machine_, c).ok());
}

TEST_F(Calibrating, KeepsTheGuessOfADeviceThatFails) {
  counting_->fails = true;
  EXPECT_TRUE(calibrated().measured);
  EXPECT_EQ(machine_.costs->estimate(layer(8, 4, 2)).mean, milliseconds(7));
}

TEST_F(Calibrating, LeavesOutWhatADeviceDoesNotSupport) {
  counting_->decoded = false;
  calibrated();
  EXPECT_EQ((counting_->seen[{static_cast<int>(Op::kLayer), true}]), 0);
  EXPECT_EQ(machine_.costs->estimate(layer(16, 4, 2)).provenance, Provenance::kMeasured);
}

TEST_F(Calibrating, ReportsDamagedDataRatherThanMeasuringIt) {
  auto broken = testing::make_tiny_store({.seed = 5});
  for (const auto& entry : fs::directory_iterator(broken.directory)) {
    if (!entry.is_regular_file() || entry.file_size() < 40'000) continue;
    std::string bytes = testing::slurp(entry.path().string());
    for (size_t i = 0; i < bytes.size(); i += 1000) bytes[i] ^= 1;
    testing::spill(entry.path().string(), bytes);
  }
  const auto result = calibrate(machine_, *broken.store, options_);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kData);
}

TEST_F(Calibrating, KeepsWhatRequestsTaught) {
  const Calibration c = calibrated();
  CostModel* model = machine_.costs->model(1);
  const CostKey key = layer(16, 4, 2);
  const Duration before = model->estimate(key).mean;
  TaskGraphBuilder builder;
  Task task;
  task.cost = key;
  RunReport report;
  for (int i = 0; i < 20; ++i) {
    builder.add(task);
    report.tasks.push_back({{0}, before * 3, TaskState::kDone});
  }
  const uint64_t version = machine_.costs->version();
  machine_.costs->observe(builder.build().value(), report);
  EXPECT_GT(machine_.costs->version(), version);
  EXPECT_TRUE(machine_.costs->learned());
  ASSERT_TRUE(save_learned(machine_, c).ok());
  EXPECT_FALSE(machine_.costs->learned());
  machine_ = new_machine();
  EXPECT_FALSE(calibrated().measured);
  EXPECT_NEAR(static_cast<double>(machine_.costs->estimate(key).mean.ns), 3.0 * static_cast<double>(before.ns), 2);
}

TEST(CalibrationDirectory, FollowsTheEnvironment) {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const std::string kept = cache != nullptr ? cache : "";
  ::setenv("XDG_CACHE_HOME", "/some/cache", 1);
  EXPECT_EQ(calibration::default_directory(), "/some/cache/tessera");
  ::setenv("XDG_CACHE_HOME", "relative", 1);  // the standard wants it ignored
  EXPECT_TRUE(calibration::default_directory().ends_with("/.cache/tessera") || std::getenv("HOME") == nullptr);
  if (cache != nullptr) {
    ::setenv("XDG_CACHE_HOME", kept.c_str(), 1);
  } else {
    ::unsetenv("XDG_CACHE_HOME");
  }
}

}  // namespace
}  // namespace tessera
