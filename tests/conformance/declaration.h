// What a backend's conformance.cc declares about itself; the suite holds it to that.
#pragma once

#include <string>
#include <vector>

namespace tessera::conformance {

// A check of the suite that is excused, and why. Names are those of the suite: "CancelReturns".
struct Excuse {
  std::string test;
  std::string why;
};

struct Declaration {
  std::string backend{};                    // registered name
  bool computes = true;                     // false: does no real work, so results are not compared
  bool probe_unavailable = false;           // true: contract tests run even on devices that are not available
  double tolerance = 0;                     // largest |got - reference| / max |reference| over an output
  std::vector<Excuse> unsupported{};        // cannot, by nature: shown as skipped with the reason
  std::vector<Excuse> expected_failures{};  // not yet: must fail; a pass is an error ("stale excuse")
};

// All declarations that were compiled into the suite.
std::vector<const Declaration*>& declarations();

// What a backend that was loaded from a shared library may expect: DIRECTORY/BACKEND.conformance.json in one of the folders
// of `search` (separated by colons; a file stands for its folder), else the default: tolerance 1e-4, no excuses. A file that
// cannot be read as one is an excuse from nothing: tolerance 0, and the reason as the name of an excuse, which then is no
// check's name and fails. The file's members are those of Declaration:
//   {"tolerance": 1e-3, "unsupported": {"CancelReturns": "why"}, "expected_failures": {}}
Declaration declaration_of_plugin(const std::string& backend, const std::string& search);

struct Register {
  explicit Register(const Declaration& d) { declarations().push_back(&d); }
};

}  // namespace tessera::conformance

#define TESSERA_CONFORMANCE(declaration) static const ::tessera::conformance::Register registered_##declaration(declaration)
