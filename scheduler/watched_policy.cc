// Decorates policies: forwards each call between two beats of the pulse.
#include "scheduler/watched_policy.h"

#include <exception>

#include "framework/clock.h"
#include "framework/policy.h"
#include "framework/registry.h"

namespace tessera {
namespace {

constexpr const char* kPrefix = "watched ";

class WatchedPolicy final : public Policy {
 public:
  WatchedPolicy(std::unique_ptr<Policy> inner, PolicyPulse& pulse, int32_t who)
      : inner_(std::move(inner)), pulse_(pulse), who_(who) {}
  std::string_view name() const override { return inner_->name(); }
  std::string_view summary() const override { return inner_->summary(); }
  std::vector<KnobDescription> knobs() const override { return inner_->knobs(); }
  Result<Residency> preload(const PlanningView& view) override {
    return call<Residency>([&] { return inner_->preload(view); });
  }
  Result<Decision> decide(const PlanningView& view) override {
    return call<Decision>([&] { return inner_->decide(view); });
  }
  bool replans(const Knobs& knobs) const override { return inner_->replans(knobs); }
  void on_event(const Event& event, PlanEditor& editor) override {
    const Beat beat(*this);
    inner_->on_event(event, editor);
  }

 private:
  class Beat {
   public:
    explicit Beat(const WatchedPolicy& of) : pulse_(of.pulse_) {
      pulse_.who.store(of.who_);
      pulse_.since_ns.store(WallClock::instance().now().ns);
    }
    ~Beat() {
      if (std::uncaught_exceptions() == exceptions_) pulse_.since_ns.store(0);
    }
    Beat(const Beat&) = delete;
    Beat& operator=(const Beat&) = delete;

   private:
    PolicyPulse& pulse_;
    const int exceptions_ = std::uncaught_exceptions();  // one that ends the process does so in this call
  };

  // Whatever a policy does wrong is the policy's error: neither an exception nor "no such file" is the sweep's.
  template <typename T, typename Call>
  Result<T> call(Call make) {
    try {
      const Beat beat(*this);
      Result<T> made = make();
      if (made.ok() || made.error().code == ErrorCode::kInvalid || made.error().code == ErrorCode::kInfeasible) return made;
      return bug(made.error().message);
    } catch (const std::exception& error) {
      pulse_.since_ns.store(0);
      return bug(std::string("threw an exception: ") + error.what());
    }
  }
  Error bug(const std::string& what) const { return {ErrorCode::kInternal, "policy " + std::string(name()) + ": " + what}; }

  std::unique_ptr<Policy> inner_;
  PolicyPulse& pulse_;
  int32_t who_;
};

}  // namespace

std::string watched_name(const std::string& policy) { return kPrefix + policy; }

void watch_policies(PolicyPulse& pulse) {
  const std::vector<Registry<PolicyFactory>::Entry> plain = policies().entries();
  for (size_t i = 0; i < plain.size(); ++i) {
    const std::string name = watched_name(plain[i].name);
    if (plain[i].name.starts_with(kPrefix) || policies().find(name) != nullptr) continue;
    const PolicyFactory make = plain[i].make;
    policies().add(name, [make, &pulse, i]() -> std::unique_ptr<Policy> {
      return std::make_unique<WatchedPolicy>(make(), pulse, static_cast<int32_t>(i));
    });
  }
}

}  // namespace tessera
