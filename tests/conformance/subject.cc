// Finds the devices under test and judges what the checks found.
#include "tests/conformance/subject.h"

#include <algorithm>
#include <cstdlib>
#include <deque>

#include "framework/simulated_backend.h"
#include "scheduler/plugins.h"

namespace tessera {
void register_backends();
}

namespace tessera::conformance {
namespace {

std::vector<std::string>& wanted() {
  static std::vector<std::string> names;
  return names;
}

bool is_wanted(const std::string& name, bool loaded) {
  const auto listed = [](const std::string& n) { return std::find(wanted().begin(), wanted().end(), n) != wanted().end(); };
  return wanted().empty() || listed(name) || (loaded && listed("plugins"));
}

const Excuse* find(const std::vector<Excuse>& excuses, const char* test) {
  const auto it = std::find_if(excuses.begin(), excuses.end(), [&](const Excuse& e) { return e.test == test; });
  return it == excuses.end() ? nullptr : &*it;
}

void add_all(std::vector<Subject>& all, const std::shared_ptr<Backend>& backend, const std::string& name, const Clock* clock,
             const Declaration* declaration, const BackendFactory& make = {}, bool on_demand = false) {
  const std::vector<DeviceDescription> devices = backend->describe();
  for (size_t d = 0; d < devices.size(); ++d) {
    int memory_device = static_cast<int>(d);
    for (size_t owner = 0; devices[d].kind == DeviceKind::kLink && owner < devices.size(); ++owner)
      if (devices[owner].link == devices[d].name) memory_device = static_cast<int>(owner);
    all.push_back({backend, static_cast<int>(d), devices[d], declaration, name, clock, make, on_demand, memory_device});
  }
}

SimulatedDevice simulated(const char* name, DeviceKind kind, const ModelShape& shape) {
  SimulatedDevice device;
  device.description.name = name;
  device.description.kind = kind;
  device.description.backend = "simulated";
  if (computes(kind)) device.description.memory_capacity = mib(64);
  Roofline figures;
  figures.latency = microseconds(10);
  figures.bandwidth = BytesPerSecond{83e6};
  if (computes(kind)) figures.flops_per_second = 1e9, figures.decode_weights_per_second = 1e9;
  device.costs = make_roofline(shape, figures);
  return device;
}

// A disk, a processor, and a card with memory and a link of its own, that only exist in virtual time: the suite's clock does
// not matter to the contract.
void add_simulated(std::vector<Subject>& all) {
  static VirtualClock clock;
  static const Declaration declaration = {
      .backend = "simulated", .computes = false, .unsupported = {}, .expected_failures = {}};
  ModelShape shape;
  shape.layers = 1, shape.slices = shape.heads = 4, shape.hidden = 64, shape.ffn = 128;
  std::vector<SimulatedDevice> devices;
  devices.push_back(simulated("simulated-disk", DeviceKind::kStorage, shape));
  devices.push_back(simulated("simulated-cpu", DeviceKind::kCpu, shape));
  devices.push_back(simulated("simulated-gpu", DeviceKind::kGpu, shape));
  devices.back().description.shared_with_host = false;
  devices.back().description.own_buffers = true;
  devices.back().description.link = "simulated-gpu.link";
  devices.push_back(simulated("simulated-gpu.link", DeviceKind::kLink, shape));
  add_all(all, std::make_shared<SimulatedBackend>(&clock, std::move(devices)), "simulated", &clock, &declaration);
}

const Declaration* declared(const std::string& backend, bool loaded) {
  static std::deque<Declaration> of_plugins;  // addresses stay
  if (loaded) {
    const char* const search = std::getenv("TESSERA_PLUGIN_PATH");
    return &of_plugins.emplace_back(declaration_of_plugin(backend, search != nullptr ? search : ""));
  }
  const auto& known = declarations();
  const auto it = std::find_if(known.begin(), known.end(), [&](const Declaration* d) { return d->backend == backend; });
  return it == known.end() ? nullptr : *it;
}

std::vector<Subject> find_subjects() {
  std::vector<Subject> all;
  const std::vector<std::string>& built_in = built_in_backends();
  for (const auto& entry : backends().entries()) {
    const bool loaded = std::find(built_in.begin(), built_in.end(), entry.name) == built_in.end();
    if (!is_wanted(entry.name, loaded)) continue;
    add_all(all, entry.make(BackendOptions{.threads = 2, .bandwidth_cap = {}}), entry.name, &WallClock::instance(),
            declared(entry.name, loaded), entry.make, entry.on_demand);
  }
  if (is_wanted("simulated", false)) add_simulated(all);
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

void narrow_to(std::vector<std::string> backends) { wanted() = std::move(backends); }

const std::vector<std::string>& built_in_backends() {
  static const std::vector<std::string> names = [] {
    register_backends();
    std::vector<std::string> found = backends().names();
    for (const Plugin& plugin : load_plugins())
      if (!plugin.refused.empty()) refused_libraries().push_back(plugin.path + ": " + plugin.refused);
    return found;
  }();
  return names;
}

std::vector<std::string>& refused_libraries() {
  static std::vector<std::string> all;
  return all;
}

const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = find_subjects();
  return all;
}

bool Subject::named_in(const std::string& message) const {
  if (message.find(description.name) != std::string::npos) return true;
  const std::vector<DeviceDescription> devices = backend->describe();
  if (is_link() && message.find(devices[static_cast<size_t>(memory_device)].name) != std::string::npos) return true;
  const auto own = std::count_if(devices.begin(), devices.end(), [](const auto& d) { return d.kind != DeviceKind::kLink; });
  return own == 1 && message.find(backend_name) != std::string::npos;
}

bool applies(const Check& check, const Subject& subject) {
  const bool real = subject.declaration == nullptr || subject.declaration->computes;
  switch (check.devices) {
    case For::kEvery:
      return true;
    case For::kReal:
      return real;
    case For::kMemory:
      return !subject.is_link();
    case For::kStorage:
      return real && subject.is_storage();
    case For::kCompute:
      return real && computes(subject.description.kind);
    case For::kMoves:
      return !subject.is_storage();
    case For::kLink:
      return real && subject.is_link();
  }
  return false;
}

Judgement judge(const Subject& subject, const Check& check) {
  if (subject.declaration == nullptr)
    return {Verdict::kFailed, "no conformance.cc declares backend '" + subject.backend_name + "'; backends/" +
                                  subject.backend_name + "/conformance.cc must say .backend = \"" + subject.backend_name +
                                  "\""};
  if (!subject.description.available && !subject.declaration->probe_unavailable)
    return {Verdict::kSkipped, subject.description.name + " is not available: " + subject.description.why};
  if (const Excuse* excuse = find(subject.declaration->unsupported, check.name))
    return {Verdict::kSkipped, "unsupported: " + excuse->why};
  const Finding finding = check.run(subject);
  const Excuse* expected = find(subject.declaration->expected_failures, check.name);
  if (!finding.failures.empty()) {
    const std::string what = joined(finding.failures);
    if (expected == nullptr) return {Verdict::kFailed, what};
    return {Verdict::kExpectedFailure, expected->why + "\n" + what};
  }
  if (expected != nullptr)
    return {Verdict::kFailed, "stale excuse: expected to fail (" + expected->why + ") but it did not; remove it"};
  if (finding.skipped) return {Verdict::kSkipped, *finding.skipped};
  return {Verdict::kPassed, ""};
}

}  // namespace tessera::conformance
