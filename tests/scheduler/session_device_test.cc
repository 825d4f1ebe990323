// Stands between the session and its devices: cancels while a task runs, fails one, and adds a second device.
#include <mutex>
#include <set>

#include "session_rig.h"

namespace tessera {
namespace {

using testing::plain_plan;
using testing::Rig;
using testing::Script;
using testing::script_plain;
using testing::scripted;

const std::vector<int32_t> kIds = {2, 7, 11, 7, 42, 3};

// Forwards to a real device; `before` may refuse each submit.
class Watched final : public Backend {
 public:
  explicit Watched(DeviceBinding inner) : inner_(inner) {}
  std::vector<DeviceDescription> describe() const override { return inner_.backend->describe(); }
  Support supports(int, const CostKey& key, const ModelShape& shape) const override {
    return inner_.backend->supports(inner_.device, key, shape);
  }
  Estimate estimate(int, const CostKey& key, const ModelShape& shape) const override {
    return inner_.backend->estimate(inner_.device, key, shape);
  }
  Result<Buffer> allocate(int, Bytes bytes) override { return inner_.backend->allocate(inner_.device, bytes); }
  void release(Buffer& buffer) override { inner_.backend->release(buffer); }
  Result<Ticket> submit(int, const Task& task, const Operands& operands) override {
    ops.insert(task.cost.op);
    if (before)
      if (const Status refused = before(task, operands); !refused.ok()) return refused.error();
    return inner_.backend->submit(inner_.device, task, operands);
  }
  Status wait(int, Ticket ticket, Duration deadline) override {
    return inner_.backend->wait(inner_.device, ticket, deadline);
  }
  Status transfer(int, MemoryRef to, MemoryRef from, Bytes bytes) override {
    return inner_.backend->transfer(inner_.device, to, from, bytes);
  }
  void cancel(int, Ticket ticket) override { inner_.backend->cancel(inner_.device, ticket); }

  std::function<Status(const Task&, const Operands&)> before;
  std::set<Op> ops;  // seen

 private:
  DeviceBinding inner_;
};

// A rig whose storage is watched, with a second CPU device.
struct WatchedRig : Rig {
  WatchedRig() {
    disk = std::make_unique<Watched>(machine.bindings[0]);
    second = backends().find("cpu")->make({.threads = 1});
    cpu1 = std::make_unique<Watched>(DeviceBinding{second.get(), 0});
    machine.bindings[0] = {disk.get(), 0};
    DeviceDescription more = machine.platform.devices[1];
    more.name = "cpu1";
    machine.platform.devices.push_back(more);
    machine.bindings.push_back({cpu1.get(), 0});
    const ModelShape& shape = tiny.store->shape();
    machine.costs->set_guess(2, [this, &shape](const CostKey& key) { return second->estimate(0, key, shape); });
    session = Session::open(shape, tiny.store.get(), accuracy, machine, {}).take();
  }
  ~WatchedRig() { session.reset(); }
  std::unique_ptr<Watched> disk, cpu1;
  std::unique_ptr<Backend> second;
};

TEST(SessionDevices, AnswerTheSameWhereLayersAreSplitOverTwo) {
  WatchedRig rig;
  ASSERT_EQ(rig.machine.platform.devices[0].kind, DeviceKind::kStorage);
  script_plain(2, 4, 6);
  const auto whole = rig.run(scripted(), kIds);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 4, 6, view.residency);
    plan.placement[0] = {{1, 0b0101}, {2, 0b1010}};
    plan.placement[1] = {{2, 0b0001}, {1, 0b1110}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.seed = 1;
  const auto split = rig.run(options, kIds);
  ASSERT_TRUE(split.ok()) << split.error().message;
  EXPECT_EQ(split->logits, whole->logits);  // bit by bit
  EXPECT_EQ(rig.cpu1->ops, (std::set<Op>{Op::kAttentionPart, Op::kFfnPart, Op::kCombine, Op::kExit}));
}

TEST(SessionDevices, CancelReachesARequestWhileItLoads) {
  WatchedRig rig;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 4, 6, view.residency);
    plan.keep = {{0, 0}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  rig.disk->before = [&rig](const Task& task, const Operands&) {
    if (task.layer == 1 && task.cost.op == Op::kLoadShards) rig.session->cancel();
    return Status{};
  };
  const auto cancelled = rig.run(options, kIds);
  ASSERT_FALSE(cancelled.ok());
  EXPECT_EQ(cancelled.error().code, ErrorCode::kCancelled) << cancelled.error().message;
  EXPECT_EQ(rig.session->held(), rig.tiny.store->shape().resident_bytes);  // nothing half-kept
  rig.disk->before = nullptr;
  const auto next = rig.run(options, kIds);
  ASSERT_TRUE(next.ok()) << next.error().message;
  testing::expect_logits(next->logits, testing::reference_logits(*rig.tiny.store, next->planned->plan, kIds), 2e-4);
}

TEST(SessionDevices, AFailingDeviceIsAnErrorOfTheRequestOnly) {
  WatchedRig rig;
  script_plain(2, 4, 6);
  rig.disk->before = [](const Task& task, const Operands&) -> Status {
    if (task.layer != 1) return {};
    return Error{ErrorCode::kDevice, "disk0: unplugged"};
  };
  const auto failed = rig.run(scripted(), kIds);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kDevice);
  EXPECT_NE(failed.error().message.find("unplugged"), std::string::npos) << failed.error().message;
  rig.disk->before = nullptr;
  EXPECT_TRUE(rig.run(scripted(), kIds).ok());
}

TEST(SessionDevices, AnswerWithinTheLeastMemoryThatReplayAllows) {
  // The smallest memory for which the plan still replays: loads wait for layers, and the answer is the same.
  WatchedRig rig;
  script_plain(2, 4, kExact);
  const auto wide = rig.run(scripted(), kIds);
  ASSERT_TRUE(wide.ok());
  int64_t good = wide->planned->plan.predicted.peak.n, bad = 0;
  RequestOptions options = scripted();
  while (good - bad > 64) {
    options.budgets.memory = {(good + bad) / 2};
    (rig.session->plan(options, static_cast<int>(kIds.size())).ok() ? good : bad) = options.budgets.memory.n;
  }
  options.budgets.memory = {good};
  const auto tight = rig.run(options, kIds);
  ASSERT_TRUE(tight.ok()) << tight.error().message;
  EXPECT_LE(tight->planned->plan.predicted.peak, wide->planned->plan.predicted.peak);
  EXPECT_LE(tight->peak, options.budgets.memory);
  EXPECT_EQ(tight->logits, wide->logits);
}

}  // namespace
}  // namespace tessera
