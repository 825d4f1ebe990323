// Kills the FPGA's emulator, and its worker, in the middle of requests: the CPU goes on, and the next request has the FPGA
// back.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "session_rig.h"
#include "tests/support/faulty_backend.h"

namespace tessera {
namespace {

using testing::Fault;
using testing::plain_plan;
using testing::Rig;
using testing::Script;
using testing::scripted;

const std::vector<int32_t> kIds = {2, 7, 11, 7, 42, 3};

struct Process {
  int pid = 0, parent = 0;
  std::string name;  // as the kernel cuts it, to 15 characters
};

std::vector<Process> processes() {
  std::vector<Process> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;
    const size_t open = line.find('('), close = line.rfind(')');
    if (open == std::string::npos || close == std::string::npos) continue;
    Process p;
    p.pid = std::atoi(line.c_str());
    p.name = line.substr(open + 1, close - open - 1);
    p.parent = std::atoi(line.c_str() + close + 4);
    out.push_back(p);
  }
  return out;
}

// Kills this process's descendants of that name; how many there were.
int kill_descendants(const std::string& name) {
  const std::vector<Process> all = processes();
  int killed = 0;
  for (const Process& p : all) {
    if (!p.name.starts_with(name)) continue;
    int above = p.parent;
    for (int hops = 0; hops < 8 && above > 1 && above != ::getpid(); ++hops) {
      const auto up = std::find_if(all.begin(), all.end(), [&](const Process& other) { return other.pid == above; });
      above = up == all.end() ? 0 : up->parent;
    }
    if (above == ::getpid()) killed += ::kill(p.pid, SIGKILL) == 0;
  }
  return killed;
}

// disk0, cpu0 and fpga0 with its link.
class LostFpga : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    testing::register_all();
    auto made = local_machine({.threads = 1}, {"cpu0", "fpga0"});
    if (!made.ok()) GTEST_SKIP() << made.error().message;
    machine = made.take();
    const ModelShape& shape = tiny.store->shape();
    for (size_t d = 0; d < machine.bindings.size(); ++d) {
      const DeviceBinding inner = machine.bindings[d];
      machine.costs->set_guess(static_cast<DeviceId>(d), [inner, &shape](const CostKey& key) {
        return inner.backend->estimate(inner.device, key, shape);
      });
    }
    cpu = *machine.platform.find("cpu0");
    fpga = *machine.platform.find("fpga0");
    struck = std::make_unique<testing::FaultyBackend>(machine.bindings[fpga].backend);
    for (const DeviceId d : {fpga, machine.platform.link_of(fpga)}) machine.bindings[d].backend = struck.get();
    session = Session::open(shape, tiny.store.get(), accuracy, machine, {}).take();
    Script::now().decide = [this](const PlanningView& view) -> Result<Decision> {
      Plan plan = plain_plan(view.shape, 2, 4, 6, view.residency);
      plan.home = cpu;
      const bool there = std::count(view.compute_devices.begin(), view.compute_devices.end(), fpga) > 0;
      plan.placement[0] = {{there ? fpga : cpu, 0b1111}};
      plan.placement[1] = {{cpu, 0b1111}};
      if (there) plan.placement[1] = {{cpu, 0b0101}, {fpga, 0b1010}};
      plan.loads = loads_for(view.platform, view.residency, plan);
      return Decision{plan};
    };
  }
  void TearDown() override { session.reset(); }

  Result<Answer> run(uint64_t seed) {
    RequestOptions options = scripted();
    options.seed = seed;
    return session->run(options, kIds, std::vector<int32_t>(kIds.size(), 0));
  }

  testing::TinyStore tiny = testing::make_tiny_store({});
  AccuracyModel accuracy;
  Machine machine;
  std::unique_ptr<testing::FaultyBackend> struck;
  std::unique_ptr<Session> session;
  DeviceId cpu = 0, fpga = 0;
};

TEST_P(LostFpga, CostsTimeNotTheAnswer) {
  const auto whole = run(0);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  ASSERT_TRUE(whole->taken_over.empty());
  const auto reference = testing::reference_logits(*tiny.store, whole->planned->plan, kIds);
  testing::expect_logits(whole->logits, reference, 2e-3);
  int killed = 0;
  for (int at = 0; at < 4; ++at) {
    SCOPED_TRACE(at);
    struck->inject(
        {Fault::kStrikes, machine.bindings[fpga].device, at, false, [&] { killed += kill_descendants(GetParam()); }});
    const auto got = run(static_cast<uint64_t>(at) + 1);
    ASSERT_TRUE(got.ok()) << got.error().message;
    testing::expect_logits(got->logits, reference, 2e-3);
    for (const TakenOver& lost : got->taken_over) {
      EXPECT_EQ(lost.faults.at(0).name, "fpga0");
      EXPECT_FALSE(lost.faults.at(0).task.empty());
    }
  }
  EXPECT_GT(killed, 0) << "no process named " << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Killed, LostFpga, ::testing::Values("tessera-fpga-em", "tessera-fpga-wo"));

}  // namespace
}  // namespace tessera
