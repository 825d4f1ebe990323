// Tests the FPGA backend's files, bookkeeping and refusals.
#include <algorithm>
#include <random>

#include "backends/fpga/interface.h"
#include "tests/backends/fpga_rig.h"
#include "tests/support/tiny_model.h"

namespace tessera {
namespace {

using fpga::RangeSet;
using testing::Variable;

std::vector<std::pair<int64_t, int64_t>> list(const RangeSet& set) { return {set.ranges().begin(), set.ranges().end()}; }
using Ranges = std::vector<std::pair<int64_t, int64_t>>;

TEST(RangeSet, JoinsNeighboursAndOverlaps) {
  RangeSet set;
  set.add(10, 20), set.add(30, 40), set.add(20, 25), set.add(5, 5);
  EXPECT_EQ(list(set), (Ranges{{10, 25}, {30, 40}}));
  set.add(0, 100);
  EXPECT_EQ(list(set), (Ranges{{0, 100}}));
}

TEST(RangeSet, CutsWhatIsRemoved) {
  RangeSet set;
  set.add(0, 100);
  set.remove(10, 20), set.remove(90, 200), set.remove(0, 0), set.remove(-5, 1);
  EXPECT_EQ(list(set), (Ranges{{1, 10}, {20, 90}}));
  EXPECT_TRUE(set.overlaps(0, 2));
  EXPECT_FALSE(set.overlaps(10, 20));
  EXPECT_FALSE(set.overlaps(50, 50));
  EXPECT_TRUE(set.contains(20, 90));
  EXPECT_FALSE(set.contains(9, 11));
}

TEST(RangeSet, EqualsASetOfBytes) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    RangeSet set;
    std::vector<bool> bytes(64);
    for (int i = 0; i < 40; ++i) {
      const int a = static_cast<int>(random() % 64), b = a + static_cast<int>(random() % (65 - a));
      const bool add = random() % 2 == 0;
      add ? set.add(a, b) : set.remove(a, b);
      std::fill(bytes.begin() + a, bytes.begin() + b, add);
      const int c = static_cast<int>(random() % 64), d = c + static_cast<int>(random() % (65 - c));
      ASSERT_EQ(set.overlaps(c, d), std::find(bytes.begin() + c, bytes.begin() + d, true) != bytes.begin() + d);
      ASSERT_EQ(set.contains(c, d), std::find(bytes.begin() + c, bytes.begin() + d, false) == bytes.begin() + d);
    }
  }
}

// The xclbin that the build has packed, and damaged copies of it.
class Xclbin : public ::testing::Test {
 protected:
  void SetUp() override {
    const fpga::Installation found = fpga::find_installation();
    if (!found.ready.ok()) GTEST_SKIP() << found.ready.error().message;
    std::ifstream file(found.xclbin, std::ios::binary);
    whole_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::string with(const std::string& bytes) {
    testing::spill(folder_ / "x.xclbin", bytes);
    return folder_ / "x.xclbin";
  }
  // Every occurrence; of equal length, so that sizes in the file stay true.
  std::string replaced(const std::string& from, const std::string& to) {
    std::string copy = whole_;
    for (size_t at = copy.find(from); at != copy.npos; at = copy.find(from, at + 1)) copy.replace(at, from.size(), to);
    return copy;
  }
  Status check(const std::string& bytes) {
    const std::string path = with(bytes);
    const auto read = fpga::read_xclbin(path);
    return read.ok() ? fpga::check_interface(*read, path) : Status(read.error());
  }
  testing::TemporaryFolder folder_;
  std::string whole_;
};

TEST_F(Xclbin, DescribesTheKernels) {
  const auto read = fpga::read_xclbin(with(whole_));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->project, fpga::project_name());
  ASSERT_NE(read->find("matmul"), nullptr);
  EXPECT_EQ(read->find("matmul")->instances.size(), 2u);
  EXPECT_EQ(read->find("attention")->arguments.front(), "q");
  EXPECT_TRUE(fpga::check_interface(*read, "x").ok());
}

TEST_F(Xclbin, OfAnotherVersionIsRefusedByNumber) {
  const Status other = check(replaced("\"tessera-1\"", "\"tessera-9\""));
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("version 9 of the kernels' interface, this program of 1"), std::string::npos)
      << other.error().message;
}

TEST_F(Xclbin, WithOtherArgumentsIsRefusedByName) {
  const Status other = check(replaced("name=\"lines\"", "name=\"sines\""));
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("kernel 'gelu' takes (x, y, x_at, y_at, status_at, sines, status)"),
            std::string::npos)
      << other.error().message;
}

TEST_F(Xclbin, WithoutAKernelIsRefusedByName) {
  const Status other = check(replaced("name=\"attention\"", "name=\"attentive\""));
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("has no kernel 'attention'"), std::string::npos) << other.error().message;
}

TEST_F(Xclbin, ForeignFilesAreRefused) {
  for (const std::string& bytes : {std::string(),
                                   std::string("\x7f"
                                               "ELF"),
                                   std::string(4096, 'x'), std::string(456, '\0')})
    EXPECT_FALSE(check(bytes).ok());
  EXPECT_FALSE(fpga::read_xclbin(folder_ / "absent").ok());
  EXPECT_FALSE(fpga::read_xclbin(folder_ / "").ok()) << "a folder";
}

TEST_F(Xclbin, CutAnywhereItIsRefused) {
  std::mt19937 random(3);
  for (int i = 0; i < 120; ++i)
    EXPECT_FALSE(check(whole_.substr(0, i < 80 ? static_cast<size_t>(i) * 9 : random() % whole_.size())).ok());
}

TEST_F(Xclbin, FlippedAnywhereItIsReadOrRefused) {
  std::mt19937 random(5);
  const size_t description = whole_.find("<?xml");
  for (int i = 0; i < 300; ++i) {
    std::string copy = whole_;
    // The container's header and the description, where damage is read; the kernels' code is not.
    const size_t at = i % 2 == 0 ? random() % 700 : description + random() % (whole_.size() - description);
    copy[at] = static_cast<char>(copy[at] ^ (1u << random() % 8));
    static_cast<void>(check(copy));  // must come back
  }
}

TEST_F(Xclbin, TheBackendSaysWhyItsDeviceIsNotThere) {
  const Variable named("TESSERA_XCLBIN", with("not an xclbin"));
  register_backends();
  const auto backend = backends().find("fpga")->make({});
  const auto devices = backend->describe();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_FALSE(devices[0].available);
  EXPECT_NE(devices[0].why.find("x.xclbin"), std::string::npos) << devices[0].why;
  const auto buffer = backend->allocate(0, kib(4));
  ASSERT_FALSE(buffer.ok());
  EXPECT_NE(buffer.error().message.find("device fpga0 is not available"), std::string::npos) << buffer.error().message;
}

// A container that is right around code that is not: XRT and the device model refuse it, this process goes on.
TEST_F(Xclbin, WithBrokenKernelsItFailsInTheWorker) {
  std::string copy = whole_;
  const size_t code = copy.find(
      "\x7f"
      "ELF");
  ASSERT_NE(code, copy.npos);
  std::fill_n(copy.begin() + static_cast<std::ptrdiff_t>(code), 4096, '\x55');
  const Variable named("TESSERA_XCLBIN", with(copy));
  register_backends();
  const auto backend = backends().find("fpga")->make({});
  const auto buffer = backend->allocate(0, kib(4));
  ASSERT_FALSE(buffer.ok());
  EXPECT_NE(buffer.error().message.find("device fpga0: cannot start its worker"), std::string::npos)
      << buffer.error().message;
}

TEST_F(Xclbin, AnAbsentEmulatorIsReported) {
  fpga::WorkerPlan plan = fpga::find_installation().plan("fpga0", 0);
  plan.emulator_folder = folder_ / "nothing";
  fpga::Keeper keeper(plan);
  const auto worker = keeper.worker(std::chrono::steady_clock::now() + std::chrono::seconds(30));
  ASSERT_FALSE(worker.ok());
  EXPECT_NE(worker.error().message.find("device fpga0: cannot start its worker"), std::string::npos)
      << worker.error().message;
}

TEST_F(Xclbin, AnAbsentWorkerIsReported) {
  fpga::WorkerPlan plan = fpga::find_installation().plan("fpga0", 0);
  plan.worker = folder_ / "nothing";
  fpga::Keeper keeper(plan);
  const auto worker = keeper.worker(std::chrono::steady_clock::now() + std::chrono::seconds(30));
  ASSERT_FALSE(worker.ok());
  EXPECT_EQ(worker.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(worker.error().message.find("nothing: No such file"), std::string::npos) << worker.error().message;
}

TEST(Fpga, IsSwitchedOffByName) {
  const Variable off("TESSERA_FPGA", "off");
  register_backends();
  const auto devices = backends().find("fpga")->make({})->describe();
  EXPECT_FALSE(devices[0].available);
  EXPECT_NE(devices[0].why.find("TESSERA_FPGA=off"), std::string::npos);
}

TEST(Fpga, EmulatesAsManyDevicesAsAsked) {
  if (!testing::fpga_is_here()) GTEST_SKIP() << fpga::find_installation().ready.error().message;
  const Variable three("TESSERA_FPGA_EMULATED", "3");
  register_backends();
  const auto backend = backends().find("fpga")->make({});
  const auto devices = backend->describe();
  ASSERT_EQ(devices.size(), 6u);
  EXPECT_EQ(devices[4].name, "fpga2");
  EXPECT_EQ(devices[4].link, "fpga2.link");
  EXPECT_EQ(devices[5].kind, DeviceKind::kLink);
  std::vector<Buffer> buffers;
  for (const int device : {0, 2, 4}) {
    auto buffer = backend->allocate(device, kib(64));
    ASSERT_TRUE(buffer.ok()) << buffer.error().message;
    buffers.push_back(*buffer);
  }
  for (Buffer& buffer : buffers) backend->release(buffer);
}

TEST(Fpga, RefusesACountThatIsNone) {
  if (!testing::fpga_is_here()) GTEST_SKIP() << fpga::find_installation().ready.error().message;
  for (const char* count : {"0", "-1", "9", "many", "2x"}) {
    const Variable devices("TESSERA_FPGA_EMULATED", count);
    register_backends();
    EXPECT_FALSE(backends().find("fpga")->make({})->describe()[0].available) << count;
  }
}

TEST(Fpga, UsesReleasedBuffersAgain) {
  if (!testing::fpga_is_here()) GTEST_SKIP() << fpga::find_installation().ready.error().message;
  testing::FpgaRig rig;
  const auto first = rig.device.allocate(kib(100));
  ASSERT_TRUE(first.ok());
  const fpga::BackendRegion* region = first->get();
  rig.device.release(first->get());
  const auto second = rig.device.allocate(kib(99));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->get(), region);
  EXPECT_EQ(rig.device.find(region).get(), region);
  rig.device.release(first->get());
  rig.device.release(first->get());  // harmless
  EXPECT_EQ(rig.device.find(region), nullptr);
}

}  // namespace
}  // namespace tessera
