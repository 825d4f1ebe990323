// Which backends are asked for their devices, and which devices a machine has.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

bool g_here = false;  // whether the fixtures have devices: they must not be in the way of other files' tests
int g_asked = 0;      // how often the card's backend looked for its devices

DeviceDescription device(const char* name, DeviceKind kind) {
  DeviceDescription d;
  d.name = name;
  d.kind = kind;
  return d;
}

// A box with a disk; a card with memory of its own and a link, and one that is not there.
class Fixture final : public Backend {
 public:
  explicit Fixture(bool card) : card_(card) {}
  std::vector<DeviceDescription> describe() const override {
    if (!g_here) return {};
    if (!card_) return {device("box0", DeviceKind::kCpu), device("box.disk0", DeviceKind::kStorage)};
    ++g_asked;
    std::vector<DeviceDescription> devices{device("card0.link", DeviceKind::kLink), device("card0", DeviceKind::kGpu),
                                           device("card1", DeviceKind::kGpu)};
    devices[1].shared_with_host = false;
    devices[1].own_buffers = true;
    devices[1].memory_capacity = mib(512);
    devices[1].link = "card0.link";
    devices[2].available = false;
    devices[2].why = "no power";
    return devices;
  }
  Support supports(int, const CostKey&, const ModelShape&) const override { return {}; }
  Estimate estimate(int, const CostKey&, const ModelShape&) const override { return {}; }
  Result<Buffer> allocate(int, Bytes) override { return Error{ErrorCode::kDevice, "card: a fixture"}; }
  void release(Buffer&) override {}
  Result<Ticket> submit(int, const Task&, const Operands&) override { return kDone; }
  Status wait(int, Ticket, Duration) override { return {}; }
  Status transfer(int, MemoryRef, MemoryRef, Bytes) override { return {}; }

 private:
  const bool card_;
};

// Once for all tests of the program.
void register_fixtures() {
  if (backends().find("card") != nullptr) return;
  backends().add("box", [](const BackendOptions&) { return std::make_unique<Fixture>(false); });
  backends().add(
      "card", [](const BackendOptions&) { return std::make_unique<Fixture>(true); }, true);
}

// Of the fixtures' devices.
std::vector<std::string> names(const Machine& machine) {
  std::vector<std::string> list;
  for (const DeviceDescription& d : machine.platform.devices)
    if (d.name.starts_with("box") || d.name.starts_with("card")) list.push_back(d.name);
  return list;
}

Result<Machine> machine_of(const std::vector<std::string>& only) {
  register_fixtures();
  g_asked = 0;
  g_here = true;
  auto machine = local_machine({.threads = 1, .bandwidth_cap = {}}, only);
  g_here = false;
  return machine;
}

TEST(LocalMachine, LeavesVendorLibrariesAloneUnlessAsked) {
  const auto machine = machine_of({});
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(g_asked, 0);
  EXPECT_THAT(names(*machine), AllOf(IsSupersetOf({"box.disk0", "box0"}), Not(::testing::Contains("card0"))));
  EXPECT_TRUE(machine_of({"box0"}).ok());
  EXPECT_EQ(g_asked, 0);
}

TEST(LocalMachine, AsksThoseWhoseDevicesAreNamed) {
  const auto machine = machine_of({"card0", "box0"});
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(g_asked, 1);
  EXPECT_THAT(names(*machine), ElementsAre("box.disk0", "card0", "card0.link", "box0")) << "each with its link, as named";
}

TEST(LocalMachine, AsksAllWhereAllAreWanted) {
  const auto machine = machine_of({"all"});
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(g_asked, 1);
  EXPECT_THAT(names(*machine), IsSupersetOf({"box.disk0", "box0", "card0", "card0.link", "card1"}));
  EXPECT_LT(machine->bindings.size(), machine->platform.devices.size()) << "what is not here comes last, unbound";
}

TEST(LocalMachine, ALinkFillsItsDevicesMemory) {
  const auto machine = machine_of({"card0"});
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  const Platform& platform = machine->platform;
  ASSERT_EQ(platform.memories.size(), 2U);
  EXPECT_EQ(platform.memories[1].name, "card0");
  EXPECT_EQ(platform.memories[1].capacity, mib(512));
  EXPECT_EQ(platform.devices[*platform.find("card0.link")].memory, 1);
  EXPECT_EQ(platform.devices[*platform.find("card0")].backend, "card");
}

TEST(LocalMachine, AnUnknownNameListsAllThatIsKnown) {
  const auto machine = machine_of({"cpu77"});
  ASSERT_FALSE(machine.ok());
  EXPECT_EQ(machine.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(machine.error().message, AllOf(HasSubstr("unknown device 'cpu77'"), HasSubstr("box0"), HasSubstr("card0"),
                                             Not(HasSubstr("card0.link"))));
}

TEST(LocalMachine, ADeviceThatIsNotThereSaysWhy) {
  const auto machine = machine_of({"card1"});
  ASSERT_FALSE(machine.ok());
  EXPECT_EQ(machine.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(machine.error().message, HasSubstr("card1 is not available: no power"));
}

}  // namespace
}  // namespace tessera
