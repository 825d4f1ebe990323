// Tests what becomes of tasks, buffers and processes when a worker or its device dies.
#include <csignal>
#include <utility>

#include <spawn.h>
#include <sys/wait.h>

#include "tests/backends/fpga_rig.h"

extern char** environ;

namespace tessera {
namespace {

using namespace std::chrono_literals;
using testing::FpgaRig, testing::Variable, testing::Watched;

class FpgaFault : public ::testing::Test {
 protected:
  void SetUp() override {
    const fpga::Installation found = fpga::find_installation();
    if (!found.ready.ok()) GTEST_SKIP() << found.ready.error().message;
  }
};

void expect_device_error(const Status& status, const std::string& part) {
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kDevice);
  EXPECT_NE(status.error().message.find("device fpga0: task 7 (layer 0): "), std::string::npos) << status.error().message;
  EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
}

TEST_F(FpgaFault, ComputesALayer) {
  FpgaRig rig;
  ASSERT_TRUE(rig.run().ok());
  EXPECT_TRUE(rig.right());
}

TEST_F(FpgaFault, WhatCameFromTheHostSurvivesAWorker) {
  FpgaRig rig;
  const int first = rig.device.worker_pid();
  const Watched worker(first);
  ::kill(first, SIGKILL);
  ASSERT_TRUE(worker.is_gone());
  const Status ran = rig.run();  // weights, input and residents come back from shared memory
  ASSERT_TRUE(ran.ok()) << ran.error().message;
  EXPECT_TRUE(rig.right());
  EXPECT_NE(rig.device.worker_pid(), first);
}

TEST_F(FpgaFault, WhatOnlyTheDeviceHadIsSaidToBeLost) {
  FpgaRig rig;
  ASSERT_TRUE(rig.run().ok());
  const Watched worker(rig.device.worker_pid());
  ::kill(rig.device.worker_pid(), SIGKILL);
  ASSERT_TRUE(worker.is_gone());
  std::vector<float> got(rig.x.size());
  expect_device_error(rig.get(rig.output, got), "computed by a worker that has died");
  ASSERT_TRUE(rig.run().ok());
  EXPECT_TRUE(rig.right());
}

TEST_F(FpgaFault, WhatWasFetchedIsNotLost) {
  FpgaRig rig;
  ASSERT_TRUE(rig.run().ok());
  ASSERT_TRUE(rig.right());
  const Watched worker(rig.device.worker_pid());
  ::kill(rig.device.worker_pid(), SIGKILL);
  ASSERT_TRUE(worker.is_gone());
  EXPECT_TRUE(rig.right());
}

TEST_F(FpgaFault, ResidentsComeBackWithANewWorker) {
  FpgaRig rig;
  ASSERT_TRUE(rig.run().ok());
  ::kill(rig.device.worker_pid(), SIGKILL);
  Status again = rig.run();
  if (!again.ok()) again = rig.run();  // the first may have met the dying worker
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(rig.right());
}

// The device model dies or leaves within a run: reported for this task, and the next one computes.
TEST_F(FpgaFault, ADeviceThatDiesWithinARunIsReplaced) {
  for (const char* how : {"crash", "exit"}) {
    const Variable fault("TESSERA_EMULATOR_FAULT", std::string("kernel=gelu,at=2,do=") + how);
    FpgaRig rig;
    const int first = rig.device.worker_pid();
    expect_device_error(rig.run(), "its device was lost");
    const Status again = rig.run();
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_TRUE(rig.right());
    EXPECT_NE(rig.device.worker_pid(), first);
  }
}

TEST_F(FpgaFault, ADeviceThatIsKilledWhileIdleIsReplaced) {
  FpgaRig rig;
  const int first = rig.device.worker_pid();
  const auto model = testing::child_of(first);
  ASSERT_TRUE(model.has_value());
  const Watched worker(first);
  ::kill(*model, SIGKILL);
  ASSERT_TRUE(worker.is_gone());
  ASSERT_TRUE(rig.run().ok());
  EXPECT_TRUE(rig.right());
}

TEST_F(FpgaFault, AKernelThatNeverEndsMeetsTheLimit) {
  const Variable fault("TESSERA_EMULATOR_FAULT", "kernel=attention,at=3,do=hang");
  FpgaRig rig(1'000ms);
  expect_device_error(rig.run(), "kernel attention did not end within 1000 ms");
  const Status again = rig.run();
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(rig.right());
}

// A device that is stopped blocks XRT itself: only the backend's own deadline helps.
TEST_F(FpgaFault, AWorkerThatHangsInsideXrtIsEnded) {
  const Variable fault("TESSERA_EMULATOR_FAULT", "kernel=matmul,at=5,do=stop");
  FpgaRig rig(1'000ms);
  const Watched worker(rig.device.worker_pid());
  ASSERT_FALSE(rig.run().ok());
  EXPECT_TRUE(worker.is_gone());
  const Status again = rig.run();
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(rig.right());
}

TEST_F(FpgaFault, AKernelThatDoesNotSetItsStatusFailsItsTaskAlone) {
  const Variable fault("TESSERA_EMULATOR_FAULT", "kernel=layernorm_residual,at=1,do=silent");
  FpgaRig rig;
  const int first = rig.device.worker_pid();
  expect_device_error(rig.run(), "kernel layernorm_residual ended without its status word");
  ASSERT_TRUE(rig.run().ok());
  EXPECT_TRUE(rig.right());
  EXPECT_EQ(rig.device.worker_pid(), first) << "the worker goes on";
}

TEST_F(FpgaFault, ASlowKernelIsWaitedFor) {
  const Variable fault("TESSERA_EMULATOR_FAULT", "kernel=matmul,at=2,do=slow");
  FpgaRig rig;
  ASSERT_TRUE(rig.run().ok());
  EXPECT_TRUE(rig.right());
}

TEST_F(FpgaFault, EveryLifeMayFail) {
  const Variable fault("TESSERA_EMULATOR_FAULT", "kernel=gelu,at=1,life=0,do=crash");
  FpgaRig rig;
  for (int i = 0; i < 3; ++i) expect_device_error(rig.run(), "its device was lost");
}

TEST_F(FpgaFault, NothingIsLeftBehind) {
  std::string folder;
  std::optional<Watched> worker, model;
  {
    FpgaRig rig;
    const int pid = rig.device.worker_pid();
    folder = testing::argument_of(pid, 3);
    worker.emplace(pid);
    model.emplace(testing::child_of(pid).value_or(pid));
    ASSERT_TRUE(std::filesystem::is_directory(folder)) << folder;
    ASSERT_TRUE(rig.run().ok());
  }
  EXPECT_TRUE(worker->is_gone(0));
  EXPECT_TRUE(model->is_gone());
  EXPECT_FALSE(std::filesystem::exists(folder)) << folder;
}

// Run by the next test, in a process of its own: holds a device until it is killed.
TEST(FpgaHolder, DISABLED_HoldsADevice) {
  const char* pipe = std::getenv("TESSERA_TEST_PIPE");
  ASSERT_NE(pipe, nullptr);
  FpgaRig rig;
  const int pid = rig.device.worker_pid();
  ASSERT_EQ(::write(std::atoi(pipe), &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  for (;;) ::pause();
}

// A child process that does not outlive the test.
struct Child {
  pid_t pid = 0;
  void kill() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(std::exchange(pid, 0), nullptr, 0);
  }
  ~Child() { kill(); }
};

TEST_F(FpgaFault, NothingIsLeftOfABackendThatIsKilled) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Variable pipe("TESSERA_TEST_PIPE", std::to_string(ends[1]));
  std::string program = std::filesystem::read_symlink("/proc/self/exe"), filter = "--gtest_filter=FpgaHolder.*";
  std::string also = "--gtest_also_run_disabled_tests";
  char* arguments[] = {program.data(), filter.data(), also.data(), nullptr};
  Child holder;
  ASSERT_EQ(::posix_spawn(&holder.pid, program.c_str(), nullptr, nullptr, arguments, environ), 0);
  ::close(ends[1]);
  int pid = 0;
  ASSERT_EQ(::read(ends[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid)) << "the other process has no device";
  const std::string folder = testing::argument_of(pid, 3);
  const Watched worker(pid), model(testing::child_of(pid).value_or(pid));
  holder.kill();
  EXPECT_TRUE(worker.is_gone());
  EXPECT_TRUE(model.is_gone());
  EXPECT_FALSE(std::filesystem::exists(folder)) << folder;
  ::close(ends[0]);
}

}  // namespace
}  // namespace tessera
