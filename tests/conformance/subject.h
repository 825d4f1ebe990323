// A device under test, what a check found out about it, and what its backend's excuses make of that.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/backend.h"
#include "framework/clock.h"
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

struct Subject {
  std::shared_ptr<Backend> backend;
  int device = 0;
  DeviceDescription description;
  const Declaration* declaration = nullptr;  // null: the backend has none
  std::string backend_name;
  const Clock* clock = nullptr;  // of the deadlines
  bool is_storage() const { return description.kind == DeviceKind::kStorage; }
  Duration soon() const { return clock->now() + milliseconds(30'000); }
};

// Every device of every registered backend, and of a simulated backend. Made once, lives to the end.
const std::vector<Subject>& subjects();

// What a check found.
struct Finding {
  std::vector<std::string> failures;
  std::optional<std::string> skipped;  // why there was nothing to check
  void expect(bool holds, const std::string& otherwise) {
    if (!holds && failures.size() < 5) failures.push_back(otherwise);
  }
  void expect(const Status& status, const std::string& what) {
    expect(status.ok(), status.ok() ? "" : what + ": " + status.error().message);
  }
};

// Which devices a check is for. Of those that compute nothing (Declaration::computes), only the contract is checked.
enum class For { kEvery, kStorage, kCompute };

struct Check {
  const char* name;
  For devices;
  Finding (*run)(const Subject&);
};
const std::vector<Check>& checks();
bool applies(const Check& check, const Subject& subject);

enum class Verdict { kPassed, kFailed, kSkipped };
struct Judgement {
  Verdict verdict;
  std::string text;
};
// Applies excuses: unsupported is skipped without running; an expected failure that passes is a stale excuse, and fails.
Judgement judge(const Subject& subject, const Check& check);

}  // namespace tessera::conformance
