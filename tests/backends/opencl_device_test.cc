// Tests how OpenCL devices are found, tuned, timed, and how their binaries are kept.
#if __has_include(<CL/cl.h>)
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <dlfcn.h>

#include "backends/opencl/binary_cache.h"
#include "tests/backends/opencl_rig.h"
#include "tests/support/tiny_model.h"

namespace tessera::opencl::testing {
namespace {

namespace fs = std::filesystem;
using tessera::testing::all_slices;
using tessera::testing::TemporaryFolder;
using tessera::testing::weights_of;

constexpr const char* kLoader = "libOpenCL.so.1";

// A folder with one driver that does `how` when it is loaded; the environment names it.
void use_broken_driver(const fs::path& folder, const char* how) {
  std::ofstream(folder / "broken.icd") << TESSERA_BROKEN_ICD << "\n";
  ::setenv("OCL_ICD_VENDORS", folder.c_str(), 1);
  ::setenv("TESSERA_BROKEN_ICD", how, 1);
}

// Each of these runs in a process of its own, where nothing has opened OpenCL before.
class OpenClDiscovery : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    void* const there = ::dlopen(kLoader, RTLD_LAZY | RTLD_LOCAL);
    if (there == nullptr) GTEST_SKIP() << "no OpenCL loader here";
    ::dlclose(there);
  }
  TemporaryFolder folder_;
};

[[noreturn]] void say_why(Duration patience) {
  const Discovery found = discover(kLoader, patience);
  std::fprintf(stderr, "%zu devices: %s\n", found.devices.size(), found.why.c_str());
  std::exit(found.devices.empty() && !found.why.empty() ? 0 : 1);
}

TEST(OpenClLoader, SaysWhatToInstallWhereThereIsNone) {
  const Discovery found = discover("libtessera-no-such-loader.so.1", milliseconds(5'000));
  EXPECT_TRUE(found.devices.empty());
  EXPECT_NE(found.why.find("no OpenCL loader: libtessera-no-such-loader.so.1"), std::string::npos) << found.why;
  EXPECT_NE(found.why.find("install ocl-icd-libopencl1"), std::string::npos) << found.why;
}

TEST(OpenClLoader, RefusesALibraryThatIsNoLoader) {
  const Discovery found = discover("libm.so.6", milliseconds(5'000));
  EXPECT_TRUE(found.devices.empty());
  EXPECT_NE(found.why.find("the OpenCL loader libm.so.6 has no cl"), std::string::npos) << found.why;
}

TEST_F(OpenClDiscovery, SaysThatThereIsNoPlatform) {
  EXPECT_EXIT(
      {
        ::setenv("OCL_ICD_VENDORS", folder_.path().c_str(), 1);
        say_why(milliseconds(20'000));
      },
      ::testing::ExitedWithCode(0), "0 devices: the OpenCL loader finds no platform");
}

TEST_F(OpenClDiscovery, SurvivesADriverThatCrashes) {
  EXPECT_EXIT(
      {
        use_broken_driver(folder_.path(), "crash");
        say_why(milliseconds(20'000));
      },
      ::testing::ExitedWithCode(0), "crashes when it is loaded \\(signal 6.*broken.icd");
}

TEST_F(OpenClDiscovery, SurvivesADriverThatNeverReturns) {
  EXPECT_EXIT(
      {
        use_broken_driver(folder_.path(), "hang");
        say_why(milliseconds(1'000));
      },
      ::testing::ExitedWithCode(0), "OpenCL does not answer within 1000 ms.*broken.icd");
}

TEST_F(OpenClDiscovery, SurvivesADriverThatEndsTheProcess) {
  EXPECT_EXIT(
      {
        use_broken_driver(folder_.path(), "exit");
        say_why(milliseconds(20'000));
      },
      ::testing::ExitedWithCode(0), "ends the process when it is loaded.*broken.icd");
}

// The backend of a machine without OpenCL: listed with its reason, refuses everything, and the CPU computes on.
TEST_F(OpenClDiscovery, LeavesTheCpuUnharmed) {
  EXPECT_EXIT(
      {
        use_broken_driver(folder_.path(), "crash");
        register_backends();
        const auto opencl = backends().find("opencl")->make({});
        const auto devices = opencl->describe();
        const bool refused = devices.size() == 1 && devices[0].name == "opencl0" && !devices[0].available &&
                             !opencl->supports(0, {}, {}).yes && !opencl->allocate(0, Bytes{64}).ok() &&
                             !opencl->submit(0, {}, {}).ok() &&
                             opencl->submit(0, {}, {}).error().code == ErrorCode::kUnavailable;
        const RandomLayer layer(2, 16, 16, ElementType::kF16);
        const auto cpu = tessera::testing::make_cpu(1);
        const auto y = tessera::testing::run_layer<float>(
            *cpu, Op::kLayer, layer, weights_of(layer, all_slices(layer), 4, WeightForm::kCoded), layer.input(3), {0, 3});
        std::fprintf(stderr, "%s\n", devices[0].why.c_str());
        std::exit(refused && y.size() == 96 ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "crashes when it is loaded");
}

TEST(OpenClTimes, AreBelievedOnlyWhereTheyCanBe) {
  EXPECT_EQ(credible(1'000, 3'000, microseconds(5)), Duration{2'000});
  EXPECT_EQ(credible(1'000, 1'000, microseconds(5)), std::nullopt) << "zero";
  EXPECT_EQ(credible(3'000, 1'000, microseconds(5)), std::nullopt) << "negative";
  EXPECT_EQ(credible(0, 0, microseconds(5)), std::nullopt) << "never filled in";
  EXPECT_EQ(credible(0, 2'000, microseconds(5)), std::nullopt) << "no start";
  EXPECT_EQ(credible(1'000, 9'000, microseconds(5)), std::nullopt) << "longer than the wall clock saw";
  EXPECT_EQ(credible(1, ~cl_ulong{0}, kForever), std::nullopt) << "no number of nanoseconds";
}

TEST(OpenClTuning, IsReadBackAsItWasWritten) {
  DeviceFacts device;
  device.group_limit = 256;
  device.local_bytes = 64 << 10;
  const Tuning tuning{{8, 4, 2, 32, 1}, {16, 4, 4, 32, 0}};
  EXPECT_EQ(to_text(tuning), "tessera-opencl 1 | few 8 4 2 32 1 | many 16 4 4 32 0");
  const Result<Tuning> back = from_text(to_text(tuning), device);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, tuning);
}

TEST(OpenClTuning, IsRefusedWhereItIsNotOurs) {
  DeviceFacts device;
  device.group_limit = 64;
  device.local_bytes = 32 << 10;
  for (const char* text : {"", "x", "tessera-opencl 2 | few 1 1 1 16 0 | many 1 1 1 16 0",
                           "tessera-opencl 1 | few 1 1 1 16 0", "tessera-opencl 1 | few 1 1 1 16 0 | many 1 1 1 16 0 more",
                           "tessera-opencl 1 | few 1 1 1 16 0 | many 1 1 3 16 0",    // no kernel has three rows
                           "tessera-opencl 1 | few 16 8 1 16 0 | many 1 1 1 16 0",   // 128 work-items
                           "tessera-opencl 1 | few 1 1 1 16 0 | many 4 4 1 1024 0",  // 1 MiB of local memory
                           "tessera-opencl 1 | few 0 1 1 16 0 | many 1 1 1 -16 0"}) {
    const Result<Tuning> tuning = from_text(text, device);
    ASSERT_FALSE(tuning.ok()) << text;
    EXPECT_EQ(tuning.error().code, ErrorCode::kInvalid);
    EXPECT_NE(tuning.error().message.find("calibrate again"), std::string::npos) << tuning.error().message;
  }
}

TEST(OpenClTuning, AlwaysHasACandidateThatFits) {
  for (const size_t group : {1u, 8u, 64u, 1024u}) {
    for (const int64_t local : {4 << 10, 16 << 10, 32 << 10, 1 << 20}) {
      for (const cl_device_type type : {CL_DEVICE_TYPE_CPU, CL_DEVICE_TYPE_GPU}) {
        DeviceFacts device;
        device.type = type, device.group_limit = group, device.local_bytes = local;
        for (const bool few : {true, false})
          for (const Tile& tile : candidates(device, few)) EXPECT_TRUE(fits(tile, device)) << group << ", " << local;
      }
    }
  }
}

TEST(OpenClBinaries, AreReadBackUnlessDamaged) {
  TemporaryFolder folder;
  const fs::path file = fs::path(folder.path()) / "deep" / "er" / "kernel.bin";
  EXPECT_EQ(read_binary(file), "");
  const std::string binary("machine code\0 with zeros", 24);
  write_binary(file, binary);
  EXPECT_EQ(read_binary(file), binary);
  EXPECT_EQ(std::distance(fs::directory_iterator(file.parent_path()), {}), 1) << "drafts are renamed";
  std::ofstream(file, std::ios::binary | std::ios::in).seekp(12).put('X');
  EXPECT_EQ(read_binary(file), "");
  fs::resize_file(file, 5);
  EXPECT_EQ(read_binary(file), "");
  std::ofstream(fs::path(folder.path()) / "file") << "no folder";
  write_binary(fs::path(folder.path()) / "file" / "kernel.bin", binary);  // cannot be written: no error
}

class OpenClDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::optional<DeviceFacts> facts = usable_device();
    if (!facts) GTEST_SKIP() << "no OpenCL device: " << machine().why;
    facts_ = *facts;
  }
  DeviceFacts facts_;
};

// Damaged and refused binaries are built anew, whatever the driver makes of them.
TEST_F(OpenClDevice, RebuildsBinariesThatCannotBeUsed) {
  const TemporaryFolder folder;
  const char* const before = std::getenv("XDG_CACHE_HOME");
  const std::string kept = before ? before : "";
  ::setenv("XDG_CACHE_HOME", folder.path().c_str(), 1);
  const RandomLayer layer(2, 16, 16, ElementType::kF16);
  const Weights weights = weights_of(layer, all_slices(layer), 4, WeightForm::kCoded);
  const auto run = [&] {
    Rig rig(facts_);
    const auto y = rig.layer<float>(Op::kLayer, layer, rig.put(weights, true), layer.input(3), {0, 3});
    rig.device().keep_binaries();
    return y;
  };
  const auto want = run();
  const fs::path cache = fs::path(folder.path()) / "tessera" / "opencl";
  ASSERT_TRUE(fs::exists(cache));
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(cache)) files.push_back(entry.path());
  EXPECT_GE(files.size(), 2u);
  EXPECT_EQ(run(), want) << "from the cache";
  for (const fs::path& file : files) fs::resize_file(file, 20);  // damaged: the checksum says so
  EXPECT_EQ(run(), want);
  for (const fs::path& file : files) write_binary(file, "well kept, but no binary of this driver");
  EXPECT_EQ(run(), want) << "refused by the driver";
  fs::remove_all(cache);
  std::ofstream(cache) << "a file where the folder should be";
  EXPECT_EQ(run(), want) << "unwritable";
  before ? ::setenv("XDG_CACHE_HOME", kept.c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
}

class OpenClBackend : public OpenClDevice {
 protected:
  void SetUp() override {
    OpenClDevice::SetUp();
    if (IsSkipped()) return;
    register_backends();
    backend_ = backends().find("opencl")->make({});
    const auto all = backend_->describe();
    while (device_ < static_cast<int>(all.size()) && !all[device_].available) device_ += 2;
  }
  std::unique_ptr<Backend> backend_;
  int device_ = 0;
};

TEST_F(OpenClBackend, TunesAndTakesItsTuningUpAgain) {
  const RandomLayer layer(4, 16, 32, ElementType::kF16);
  const Result<std::string> text = backend_->tune(device_, layer.shape);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const auto shown = [&] {
    const std::vector<DeviceDescription> all = backend_->describe();
    for (const auto& [name, value] : all[device_].properties)
      if (name == "tuning") return value;
    return std::string();
  };
  EXPECT_EQ(shown(), *text);
  const Status nonsense = backend_->set_tuning(device_, "nonsense");
  ASSERT_FALSE(nonsense.ok());
  EXPECT_EQ(nonsense.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(shown(), *text) << "nothing changes";
  EXPECT_TRUE(backend_->set_tuning(device_, "tessera-opencl 1 | few 1 2 4 32 0 | many 2 2 4 32 0").ok());
  EXPECT_EQ(shown(), "tessera-opencl 1 | few 1 2 4 32 0 | many 2 2 4 32 0");
  EXPECT_TRUE(backend_->set_tuning(device_, *text).ok());
  EXPECT_EQ(shown(), *text);
  EXPECT_EQ(*backend_->tune(device_ + 1, layer.shape), "") << "a link has nothing to tune";
}

TEST_F(OpenClBackend, TellsHowLongItsLastTicketTook) {
  Buffer there = backend_->allocate(device_, mib(4)).take();
  std::vector<std::byte> bytes(4 << 20);
  Buffer here = {.host = bytes.data(), .bytes = mib(4)};
  const Move move{{&there, 0}, {&here, 0}, mib(4)};
  Operands operands;
  operands.moves = {&move, 1};
  Task task;
  task.cost.op = Op::kTransfer;
  for (const int d : {device_, device_ + 1}) {
    const Duration start = WallClock::instance().now();
    const Ticket ticket = backend_->submit(d, task, operands).take();
    ASSERT_TRUE(backend_->wait(d, ticket, kForever).ok());
    const Duration wall = WallClock::instance().now() - start;
    EXPECT_EQ(backend_->measured(d, kDone), std::nullopt);
    EXPECT_EQ(backend_->measured(d, ticket + 1), std::nullopt);
    if (const auto took = backend_->measured(d, ticket)) {
      EXPECT_GT(*took, Duration{});
      EXPECT_LE(*took, wall);
    }
  }
  backend_->release(there);
}

// The executor's two threads: weights go over the link while the device computes.
TEST_F(OpenClBackend, CopiesOverTheLinkWhileItComputes) {
  const RandomLayer layer(4, 16, 32, ElementType::kF16);
  const Weights weights = weights_of(layer, all_slices(layer), 4, WeightForm::kCoded);
  std::thread link([&] {
    for (int round = 0; round < 40; ++round) {
      Buffer there = backend_->allocate(device_, Bytes{100'000}).take();
      std::vector<uint8_t> sent(100'000, static_cast<uint8_t>(round)), got(100'000);
      Buffer from = {.host = reinterpret_cast<std::byte*>(sent.data()), .bytes = there.bytes};
      Buffer to = {.host = reinterpret_cast<std::byte*>(got.data()), .bytes = there.bytes};
      const Move moves[] = {{{&there, 0}, {&from, 0}, there.bytes}, {{&to, 0}, {&there, 0}, there.bytes}};
      Operands operands;
      operands.moves = moves;
      Task task;
      task.cost.op = Op::kTransfer;
      const auto ticket = backend_->submit(device_ + 1, task, operands);
      EXPECT_TRUE(ticket.ok() && backend_->wait(device_ + 1, *ticket, kForever).ok());
      EXPECT_EQ(got, sent);
      backend_->release(there);
    }
  });
  Rig rig(facts_);
  const auto refs = rig.put(weights, true);
  const std::vector<float> x = layer.input(20);
  const auto want = rig.layer<float>(Op::kLayer, layer, refs, x, {0, 20});
  for (int round = 0; round < 40; ++round) EXPECT_EQ(rig.layer<float>(Op::kLayer, layer, refs, x, {0, 20}), want);
  link.join();
}

}  // namespace
}  // namespace tessera::opencl::testing
#endif
