// Finds the devices under test and judges what the checks found.
#include "tests/conformance/subject.h"

#include <algorithm>

#include "framework/registry.h"
#include "framework/simulated_backend.h"

namespace tessera {
void register_backends();
}

namespace tessera::conformance {
namespace {

const Excuse* find(const std::vector<Excuse>& excuses, const char* test) {
  const auto it = std::find_if(excuses.begin(), excuses.end(), [&](const Excuse& e) { return e.test == test; });
  return it == excuses.end() ? nullptr : &*it;
}

void add_all(std::vector<Subject>& all, const std::shared_ptr<Backend>& backend, const std::string& name, const Clock* clock,
             const Declaration* declaration) {
  const std::vector<DeviceDescription> devices = backend->describe();
  for (size_t d = 0; d < devices.size(); ++d)
    all.push_back({backend, static_cast<int>(d), devices[d], declaration, name, clock});
}

// A disk and a processor that only exist in virtual time: the suite's clock does not matter to the contract.
void add_simulated(std::vector<Subject>& all) {
  static VirtualClock clock;
  static const Declaration simulated = {
      .backend = "simulated", .computes = false, .unsupported = {}, .expected_failures = {}};
  ModelShape shape;
  shape.layers = 1, shape.slices = shape.heads = 4, shape.hidden = 64, shape.ffn = 128;
  std::vector<SimulatedDevice> devices(2);
  devices[0].description.name = "simulated-disk";
  devices[0].description.kind = DeviceKind::kStorage;
  devices[1].description.name = "simulated-cpu";
  devices[1].description.memory_capacity = mib(64);
  for (SimulatedDevice& device : devices) {
    device.description.backend = "simulated";
    Roofline figures;
    figures.latency = microseconds(10);
    figures.bandwidth = BytesPerSecond{83e6};
    if (computes(device.description.kind))
      figures.flops_per_second = 1e9, figures.decode_weights_per_second = 1e9;
    device.costs = make_roofline(shape, figures);
  }
  add_all(all, std::make_shared<SimulatedBackend>(&clock, std::move(devices)), "simulated", &clock, &simulated);
}

std::vector<Subject> find_subjects() {
  std::vector<Subject> all;
  register_backends();
  for (const auto& entry : backends().entries()) {
    const auto& known = declarations();
    const auto it = std::find_if(known.begin(), known.end(), [&](const Declaration* d) { return d->backend == entry.name; });
    add_all(all, entry.make(BackendOptions{.threads = 2, .bandwidth_cap = {}}), entry.name, &WallClock::instance(),
            it == known.end() ? nullptr : *it);
  }
  add_simulated(all);
  return all;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace

std::vector<const Declaration*>& declarations() {
  static std::vector<const Declaration*> all;
  return all;
}

const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = find_subjects();
  return all;
}

bool applies(const Check& check, const Subject& subject) {
  if (check.devices == For::kEvery) return true;
  const bool real = subject.declaration == nullptr || subject.declaration->computes;
  return real && (check.devices == For::kStorage) == subject.is_storage();
}

Judgement judge(const Subject& subject, const Check& check) {
  if (subject.declaration == nullptr)
    return {Verdict::kFailed, "backend '" + subject.backend_name + "' has no conformance.cc that declares it"};
  if (!subject.description.available && !subject.declaration->probe_unavailable)
    return {Verdict::kSkipped, subject.description.name + " is not available: " + subject.description.why};
  if (const Excuse* excuse = find(subject.declaration->unsupported, check.name))
    return {Verdict::kSkipped, "unsupported: " + std::string(excuse->why)};
  const Finding finding = check.run(subject);
  const Excuse* expected = find(subject.declaration->expected_failures, check.name);
  if (!finding.failures.empty()) {
    const std::string what = joined(finding.failures);
    if (expected == nullptr) return {Verdict::kFailed, what};
    return {Verdict::kSkipped, "expected failure: " + std::string(expected->why) + "\n" + what};
  }
  if (expected != nullptr)
    return {Verdict::kFailed,
            "stale excuse: expected to fail (" + std::string(expected->why) + ") but it did not; remove it"};
  if (finding.skipped) return {Verdict::kSkipped, *finding.skipped};
  return {Verdict::kPassed, ""};
}

}  // namespace tessera::conformance
