// A device under test, what a check found out about it, and what its backend's excuses make of that.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/backend.h"
#include "framework/clock.h"
#include "framework/registry.h"
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

struct Subject {
  std::shared_ptr<Backend> backend;
  int device = 0;
  DeviceDescription description;
  const Declaration* declaration = nullptr;  // null: the backend has none
  std::string backend_name;
  const Clock* clock = nullptr;  // of the deadlines
  BackendFactory make{};         // another such backend; empty for simulated ones
  bool on_demand = false;        // its devices' names begin with the backend's
  int memory_device = 0;         // whose buffers tasks work on: of a link, the device that it serves; else the device

  bool is_storage() const { return description.kind == DeviceKind::kStorage; }
  bool is_link() const { return description.kind == DeviceKind::kLink; }
  Duration soon() const { return clock->now() + milliseconds(30'000); }
  // A message that says who speaks: the device (of a link, or the one that it serves), or the backend where it drives but
  // one.
  bool named_in(const std::string& message) const;
};

// Backends that the suite is narrowed to (registered names, "simulated", "plugins": all that were loaded). Before the first
// use of subjects(). Empty: all.
void narrow_to(std::vector<std::string> backends);
// Every device of every backend, registered or loaded (TESSERA_PLUGIN_PATH), and of a simulated one. Made once, lives to the
// end.
const std::vector<Subject>& subjects();
// Registered backends that were built in; the others were loaded, on its first call: before there are other threads.
const std::vector<std::string>& built_in_backends();
// Libraries of TESSERA_PLUGIN_PATH that were not loaded, with the reason.
std::vector<std::string>& refused_libraries();

// What a check found.
struct Finding {
  std::vector<std::string> failures;
  std::optional<std::string> skipped;  // why there was nothing to check
  static constexpr size_t kMost = 5;   // failures that are told
  void expect(bool holds, const std::string& otherwise) {
    if (!holds && failures.size() < kMost) failures.push_back(otherwise);
  }
  void expect(const Status& status, const std::string& what) {
    expect(status.ok(), status.ok() ? "" : what + ": " + status.error().message);
  }
};

// Which devices a check is for. Of those that compute nothing (Declaration::computes), only the contract is checked.
//   kReal: all that really work
//   kMemory: all that hold memory of their own (links do not)
//   kMoves: what runs Transfer tasks: links, and devices that compute
enum class For { kEvery, kReal, kMemory, kStorage, kCompute, kMoves, kLink };

struct Check {
  const char* name;
  For devices;
  Finding (*run)(const Subject&);
};
const std::vector<Check>& checks();
bool applies(const Check& check, const Subject& subject);

enum class Verdict { kPassed, kFailed, kSkipped, kExpectedFailure };
struct Judgement {
  Verdict verdict;
  std::string text;
};
// Applies excuses: unsupported is skipped without running; an expected failure that passes is a stale excuse, and fails.
Judgement judge(const Subject& subject, const Check& check);

}  // namespace tessera::conformance
