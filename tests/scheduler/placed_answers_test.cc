// Plans over real devices answer what one device answers: the CPU with an OpenCL device, where there is one.
#include "session_rig.h"

namespace tessera {
namespace {

// A rig on cpu0 and opencl0, both as fast as each other by their costs, so that layers are split.
struct TwoKinds {
  TwoKinds() {
    testing::register_all();
    auto found = local_machine({.threads = 1}, {"cpu0", "opencl0"});
    if (!found.ok()) {
      why = found.error().message;
      return;
    }
    machine = found.take();
    for (size_t d = 0; d < machine.bindings.size(); ++d)
      machine.costs->set_guess(static_cast<DeviceId>(d), [d, this](const CostKey& key) {
        Estimate e = costs.estimate(key);
        if (key.op == Op::kAttentionPart || key.op == Op::kFfnPart) e.mean = e.p95 = {e.mean.ns / 2};  // halves of a layer
        const DeviceBinding& binding = machine.bindings[d];
        e.workspace = binding.backend->estimate(binding.device, key, tiny.store->shape()).workspace;
        return e;
      });
    session = Session::open(tiny.store->shape(), tiny.store.get(), accuracy, machine, {}).take();
  }
  testing::TinyStore tiny = testing::make_tiny_store({});
  testing::PlainCosts costs{milliseconds(1)};
  AccuracyModel accuracy;
  Machine machine;
  std::unique_ptr<Session> session;
  std::string why;
};

TEST(PlacedOnRealDevices, AnswersAsTheReferenceDoes) {
  TwoKinds rig;
  if (!rig.session) GTEST_SKIP() << "needs an OpenCL device: " << rig.why;
  const std::vector<int32_t> ids{2, 7, 11, 7, 42, 3};
  for (const char* policy : {"heft", "min-completion", "sti"}) {
    SCOPED_TRACE(policy);
    RequestOptions options;
    options.policy = policy;
    for (const char* when : {"cold", "warm"}) {
      const auto answer = rig.session->run(options, ids, std::vector<int32_t>(ids.size(), 0));
      ASSERT_TRUE(answer.ok()) << when << ": " << answer.error().message;
      ASSERT_FALSE(answer->planned->infeasible) << answer->planned->infeasible->why;
      const Plan& plan = answer->planned->plan;
      int split = 0;
      for (const auto& parts : plan.placement) split += parts.size() > 1 ? 1 : 0;
      EXPECT_GT(split, 0);
      testing::expect_logits(answer->logits, testing::reference_logits(*rig.tiny.store, plan, ids), 2e-3);
    }
  }
}

}  // namespace
}  // namespace tessera
