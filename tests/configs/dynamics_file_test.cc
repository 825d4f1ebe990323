// Tests that a machine's dynamics are read exactly, and that every mistake is named with its file and line.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "configs/loader.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

const std::string kConfigs = std::string(TESSERA_SOURCE_DIR) + "/configs/";

// A board with a disk, another behind the same bus, and a CPU; its dynamics begin on line 27.
const std::string kBoard = R"(name = "x"
[[device]]
name = "disk0"
kind = "storage"
[device.storage]
bandwidth = "100 MB/s"
latency = "1 ms"
[[device]]
name = "usb0"
kind = "storage"
[device.storage]
bandwidth = "40 MB/s"
[[device]]
name = "cpu0"
kind = "cpu"
[device.roofline]
flops = "1 GFLOP/s"
bandwidth = "1 GB/s"
decode = "1 Gweight/s"




# a comment


)";

class DynamicsFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("tessera_dynamics_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  Result<Machine> load(const std::string& text, const std::string& name = "board.toml") {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    static const ModelShape shape = load_shape(kConfigs + "models/bert-base.toml").value();
    return load_platform((folder_ / name).string(), shape);
  }
  Dynamics read(const std::string& dynamics) {
    const auto machine = load(kBoard + dynamics);
    EXPECT_TRUE(machine.ok()) << machine.error().message;
    if (!machine.ok() || machine->simulation == nullptr) return {};
    return machine->simulation->dynamics();
  }
  void refused(const std::string& dynamics, int line, const std::string& text) {
    const auto machine = load(kBoard + dynamics);
    ASSERT_FALSE(machine.ok()) << dynamics;
    EXPECT_EQ(machine.error().code, ErrorCode::kInvalid);
    const std::string& message = machine.error().message;
    EXPECT_NE(message.find("board.toml:" + std::to_string(line) + ": "), std::string::npos) << message;
    EXPECT_NE(message.find(text), std::string::npos) << message;
  }
  fs::path folder_;
};

TEST_F(DynamicsFile, APlatformWithoutAnyHasNoSimulation) {
  const auto machine = load(kBoard);
  ASSERT_TRUE(machine.ok());
  EXPECT_EQ(machine->simulation, nullptr);
}

TEST_F(DynamicsFile, TakesEveryFigureWithItsUnit) {
  const Dynamics d = read(R"([dynamics.device.disk0]
lost_at = "3 s"
[dynamics.device.disk0.swing]
shape = "walk"
amplitude = "50 %"
period = "2 s"
phase = "10 ms"
[dynamics.device.disk0.jitter]
load = ["90 %", "100 %", "150 %"]
[dynamics.device.cpu0.thermal]
rise = "40 K"
time_constant = "30 s"
throttle_at = "30 K"
resume_at = "25.5 K"
slowed = "60 %"
[dynamics.device.cpu0.frequency]
speeds = ["50 %", "100 %"]
powers = ["20 %", "100 %"]
sample = "10 ms"
[[dynamics.shared]]
name = "bus"
devices = ["disk0", "usb0"]
bandwidth = "120 MB/s"
[[dynamics.shared.background]]
bandwidth = "30 MB/s"
period = "1 s"
busy = "250 ms"
[[dynamics.contention]]
slowed = "cpu0"
beside = "disk0"
time = "110 %"
time_coded = "130 %"
lasting = true
[dynamics.requests]
time = ["95 %", "120 %"]
setup = ["10 us", "1 ms"]
first_setup = ["5 ms"]
)");
  ASSERT_EQ(d.devices.size(), 3u);
  EXPECT_EQ(d.devices[0].lost_at, milliseconds(3000));
  EXPECT_EQ(d.devices[1].lost_at, kForever);
  EXPECT_EQ(d.devices[0].swing.shape, Swing::Shape::kWalk);
  EXPECT_EQ(d.devices[0].swing.amplitude, 500'000);
  EXPECT_EQ(d.devices[0].swing.period, milliseconds(2000));
  EXPECT_EQ(d.devices[0].swing.phase, milliseconds(10));
  EXPECT_EQ(d.devices[0].jitter[static_cast<size_t>(Op::kLoadShards)].at,
            (std::vector<int64_t>{900'000, 1'000'000, 1'500'000}));
  EXPECT_TRUE(d.devices[0].jitter[static_cast<size_t>(Op::kLayer)].empty());
  EXPECT_EQ(d.devices[2].thermal.rise, 40'000'000);
  EXPECT_EQ(d.devices[2].thermal.resume_at, 25'500'000);
  EXPECT_EQ(d.devices[2].thermal.slowed, 600'000);
  ASSERT_EQ(d.devices[2].frequency.levels.size(), 2u);
  EXPECT_EQ(d.devices[2].frequency.levels[0].power, 200'000);
  EXPECT_EQ(d.devices[2].frequency.up, 800'000);
  ASSERT_EQ(d.shared.size(), 1u);
  EXPECT_EQ(d.shared[0].bandwidth, 120'000'000);
  ASSERT_EQ(d.shared[0].members.size(), 2u);
  EXPECT_EQ(d.shared[0].members[0].demand, 100'000'000);  // its own bandwidth, without its latency
  EXPECT_EQ(d.shared[0].members[1].demand, 40'000'000);
  EXPECT_EQ(d.shared[0].background[0].busy, milliseconds(250));
  EXPECT_EQ(d.contention[0].slowed, 2);
  EXPECT_EQ(d.contention[0].beside, 0);
  EXPECT_EQ(d.contention[0].plain, 1'100'000);
  EXPECT_EQ(d.contention[0].coded, 1'300'000);
  EXPECT_TRUE(d.contention[0].lasting);
  EXPECT_EQ(d.later.setup.at, (std::vector<int64_t>{10'000, 1'000'000}));
  EXPECT_EQ(d.first.setup.at, (std::vector<int64_t>{5'000'000}));
  EXPECT_EQ(d.first.ratio.at, d.later.ratio.at);
}

TEST_F(DynamicsFile, MistakesAreNamedWithLineAndRemedy) {
  refused("[dynamics.device.disk1.swing]\n", 27, "did you mean 'disk0'?");
  refused("[dynamics]\nshare = 3\n", 28, "did you mean 'shared'?");
  refused("[dynamics.device.disk0.swing]\nshape = \"saw\"\n", 28,
          "unknown shape 'saw' of a swing; known: sine, square, walk");
  refused("[dynamics.device.disk0.swing]\nshape = \"sine\"\n", 27, "key 'amplitude' is missing; write amplitude = \"50 %\"");
  refused("[dynamics.device.disk0.swing]\nshape = \"sine\"\namplitude = 0.5\n", 29, "must be a quantity in quotes");
  refused("[dynamics.device.disk0.swing]\nshape = \"sine\"\namplitude = \"0.5\"\n", 29, "'0.5' has no unit; write 0.5%");
  refused("[dynamics.device.disk0.swing]\nshape = \"sine\"\namplitude = \"100 %\"\nperiod = \"1 s\"\n", 27,
          "disk0: device 0: dynamics: swing amplitude 1000000 ppm");
  refused("[dynamics.device.disk0.swing]\nshape = \"sine\"\namplitude = \"9 %\"\nperiod = \"1 ns\"\n", 27, "swing period");
  refused("[dynamics.device.cpu0.frequency]\nsample = \"1 ms\"\n", 27, "a frequency needs its levels");
  refused("[dynamics.device.cpu0.frequency]\nspeeds = [\"90 %\", \"80 %\"]\nsample = \"1 ms\"\n", 27, "must rise");
  refused("[dynamics.device.cpu0.frequency]\nspeeds = [\"90 %\"]\npowers = []\nup = \"0 %\"\nsample = \"1 ms\"\n", 27,
          "threshold");
  refused("[dynamics.device.cpu0.frequency]\nspeeds = [\"9 %\"]\npowers = [\"1 %\", \"2 %\"]\n", 29, "powers has 2 entries");
  refused("[dynamics.device.cpu0.jitter]\ncompute = [\"9 %\", \"8 %\"]\n", 28, "quantiles must rise");
  refused("[dynamics.device.cpu0.thermal]\nrise = \"4 K\"\n", 27, "key 'time_constant' is missing");
  refused("[dynamics.device.cpu0]\nlost_at = \"4\"\n", 28, "'4' has no unit");
  refused("[[dynamics.shared]]\nname = \"b\"\nbandwidth = \"1 MB/s\"\n", 27, "needs its devices");
  refused("[[dynamics.shared]]\nname = \"b\"\nbandwidth = \"1 MB/s\"\ndevices = [\"cpu0\"]\n", 30,
          "give demands, one a device");
  refused("[[dynamics.shared]]\nname = \"b\"\nbandwidth = \"0 MB/s\"\ndevices = [\"usb0\"]\n", 27, "b: bandwidth 0");
  refused("[[dynamics.shared]]\nname = \"b\"\nbandwidth = \"1 MB/s\"\ndevices = [\"usb\"]\n", 30, "did you mean 'usb0'?");
  refused("[[dynamics.contention]]\nslowed = \"cpu0\"\nbeside = \"cpu0\"\n", 29, "one task at a time");
  refused("[[dynamics.contention]]\nslowed = \"cpu0\"\nbeside = \"disk0\"\ntime = \"0 %\"\n", 30, "above 0 %");
  refused("[dynamics.requests]\nsetup = [\"2 ms\", \"1 ms\"]\n", 28, "quantiles must rise");
}

TEST_F(DynamicsFile, AFileMayGiveAnotherOnesMachineOtherDynamics) {
  ASSERT_TRUE(load(kBoard + "[dynamics.device.disk0]\nlost_at = \"3 s\"\n").ok());
  const auto machine = load("name = \"y\"\nextends = \"board.toml\"\n[dynamics.device.cpu0]\nlost_at = \"1 s\"\n", "y.toml");
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(machine->platform.name, "y");
  EXPECT_EQ(machine->platform.devices.size(), 3u);
  EXPECT_EQ(machine->simulation->dynamics().devices[0].lost_at, kForever);
  EXPECT_EQ(machine->simulation->dynamics().devices[2].lost_at, milliseconds(1000));
  const auto twice = load("name = \"z\"\nextends = \"y.toml\"\n", "z.toml");
  ASSERT_FALSE(twice.ok());
  EXPECT_NE(twice.error().message.find("z.toml:2: y.toml extends a file itself"), std::string::npos)
      << twice.error().message;
  const auto itself = load("name = \"w\"\nextends = \"w.toml\"\n", "w.toml");
  EXPECT_FALSE(itself.ok());
  const auto missing = load("name = \"w\"\nextends = \"none.toml\"\n", "w.toml");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kData);
  const auto more = load("name = \"w\"\nextends = \"board.toml\"\n[[device]]\nname = \"d\"\n", "w.toml");
  ASSERT_FALSE(more.ok());
  EXPECT_NE(more.error().message.find("w.toml:3: "), std::string::npos) << more.error().message;
}

TEST_F(DynamicsFile, ShippedPlatformsHaveTheDynamicsThatTheyAreNamedFor) {
  const ModelShape shape = load_shape(kConfigs + "models/bert-base.toml").value();
  const auto swing = load_platform(kConfigs + "platforms/sti-board-swing.toml", shape);
  ASSERT_TRUE(swing.ok()) << swing.error().message;
  EXPECT_EQ(swing->simulation->dynamics().devices[0].swing.amplitude, 500'000);
  const auto loss = load_platform(kConfigs + "platforms/trio-board-loss.toml", shape);
  ASSERT_TRUE(loss.ok()) << loss.error().message;
  EXPECT_EQ(loss->simulation->dynamics().devices[*loss->platform.find("gpu0")].lost_at, milliseconds(2000));
  const auto phone = load_platform(kConfigs + "platforms/phone.toml", shape);
  ASSERT_TRUE(phone.ok()) << phone.error().message;
  EXPECT_EQ(phone->simulation->dynamics().shared[0].background.size(), 2u);
}

// Each byte of a good file in turn made something else: it is read or refused, and never more than that.
TEST_F(DynamicsFile, DamagedFilesAreReadOrRefused) {
  std::ifstream in(kConfigs + "platforms/phone.toml");
  std::string good;  // without its comments, which say nothing to the reader
  for (std::string line; std::getline(in, line);) good += line.substr(0, line.find('#')) + "\n";
  uint64_t refusals = 0, read = 0;
  for (size_t i = 0; i < good.size(); i += 17) {
    std::string bad = good;
    const uint64_t random = hash_draw({i});
    if (random % 3 == 0)
      bad.erase(i, 1 + random / 3 % 20);
    else
      bad[i] = "0\"9]-[=% \nKe.x"[random / 3 % 14];
    const auto machine = load(bad);
    machine.ok() ? ++read : ++refusals;
    if (!machine.ok()) { ASSERT_FALSE(machine.error().message.empty()); }
    if (!machine.ok() || machine->simulation == nullptr) continue;
    ASSERT_TRUE(check_dynamics(machine->simulation->dynamics(), static_cast<int>(machine->platform.devices.size())).ok());
  }
  EXPECT_GT(refusals, 50u);
  EXPECT_GT(read, 10u);
}

}  // namespace
}  // namespace tessera
