// Tests that calibration measures what is there, keeps it, and is not misled by damaged files.
#include "scheduler/calibrate.h"

#include <cstdlib>
#include <filesystem>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "framework/registry.h"
#include "scheduler/calibrate_parts.h"
#include "tests/support/tiny_model.h"

namespace tessera {
void register_backends();
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A compute device that ends every task at once and counts the keys it saw.
class CountingBackend final : public Backend {
 public:
  std::vector<DeviceDescription> describe() const override {
    DeviceDescription d;
    d.name = "fake0";
    d.backend = "fake";
    return {d};
  }
  Support supports(int, const CostKey& key, const ModelShape&) const override {
    if (key.decoded && !decoded) return {false, "coded weights only"};
    return {};
  }
  Estimate estimate(int, const CostKey& key, const ModelShape&) const override {
    Estimate e;
    e.mean = e.p95 = milliseconds(7);
    e.workspace = {64 * (1 + key.tokens)};
    return e;
  }
  Result<Buffer> allocate(int, Bytes bytes) override {
    Buffer b;
    b.host = static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>(align_up(bytes, 4096).n)));
    b.bytes = bytes;
    ++buffers;
    return b;
  }
  void release(Buffer& buffer) override {
    if (buffer.host != nullptr) --buffers;
    std::free(buffer.host);
    buffer = {};
  }
  Result<Ticket> submit(int, const Task& task, const Operands& o) override {
    if (fails) return Error{ErrorCode::kDevice, "fake0 is broken"};
    EXPECT_EQ(o.batch.tokens(), task.cost.tokens);
    EXPECT_GE(o.workspace_bytes, 64 * (1 + task.cost.tokens));
    EXPECT_GE(o.workspace.buffer->bytes.n, o.workspace_bytes);
    if (task.cost.op == Op::kLayer) {
      EXPECT_EQ(o.weights.size(), task.cost.slices);
      EXPECT_NE(o.residents, nullptr);
    }
    ++seen[{static_cast<int>(task.cost.op), task.cost.decoded}];
    return kDone;
  }
  Status wait(int, Ticket, Duration) override { return {}; }
  Status transfer(int, MemoryRef, MemoryRef, Bytes) override { return {}; }

  bool decoded = true, fails = false;
  int buffers = 0;
  std::map<std::pair<int, bool>, int> seen;
};

class Calibrating : public ::testing::Test {
 protected:
  void SetUp() override {
    register_backends();
    machine_ = new_machine();
    options_.directory = cache_.path();
    options_.quiet = true;
    options_.version = "test";
  }

  // The real storage backend and a counting one.
  Machine new_machine() {
    Machine m;
    m.backends.push_back(backends().find("storage")->make({}));
    auto counting = std::make_unique<CountingBackend>();
    counting_ = counting.get();
    m.backends.push_back(std::move(counting));
    for (auto& backend : m.backends) {
      m.platform.devices.push_back(backend->describe()[0]);
      m.bindings.push_back({backend.get(), 0});
    }
    m.costs = std::make_shared<CostBook>();
    return m;
  }

  Calibration calibrated() {
    auto result = calibrate(machine_, *tiny_.store, options_);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? result.take() : Calibration{};
  }

  CostKey load(int64_t bytes) const {
    CostKey key;
    key.op = Op::kLoadShards;
    key.bytes = bytes;
    key.reads = 1;
    return key;
  }
  CostKey layer(int tokens, int slices, Bits bits) const {
    CostKey key;
    key.device = 1;
    key.op = Op::kLayer;
    key.tokens = static_cast<uint16_t>(tokens);
    key.slices = static_cast<uint8_t>(slices);
    key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
    return key;
  }

  static testing::TinyStore tiny_;
  testing::TemporaryFolder cache_;
  Machine machine_;
  CountingBackend* counting_ = nullptr;
  CalibrationOptions options_;
};
testing::TinyStore Calibrating::tiny_ = testing::make_tiny_store();

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

TEST(CalibrationSummary, IsTheMedianWhateverIsWild) {
  const Estimate e = calibration::summarise({0.010, 0.011, 0.0105, 5.0, 0.0102});
  EXPECT_EQ(e.mean, microseconds(10'500));
  EXPECT_LT(e.p95, milliseconds(13));
  EXPECT_EQ(calibration::summarise({0.002}).p95, milliseconds(2));
}

}  // namespace
}  // namespace tessera
