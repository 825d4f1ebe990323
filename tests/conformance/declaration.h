// What a backend's conformance.cc declares about itself; the suite holds it to that.
#pragma once

#include <string_view>
#include <vector>

namespace tessera::conformance {

// A test of the suite that is excused, and why. Names are those of the suite: "CancelReturns".
struct Excuse {
  std::string_view test;
  std::string_view why;
};

struct Declaration {
  std::string_view backend{};               // registered name
  bool computes = true;                     // false: does no real work, so results are not compared
  bool probe_unavailable = false;           // true: contract tests run even on devices that are not available
  double tolerance = 0;                     // largest |got - reference| / max |reference| over an output
  std::vector<Excuse> unsupported{};        // cannot, by nature: shown as skipped with the reason
  std::vector<Excuse> expected_failures{};  // not yet: must fail; a pass is an error ("stale excuse")
};

// All declarations that were compiled into the suite.
std::vector<const Declaration*>& declarations();

struct Register {
  explicit Register(const Declaration& d) { declarations().push_back(&d); }
};

}  // namespace tessera::conformance

#define TESSERA_CONFORMANCE(declaration) static const ::tessera::conformance::Register registered_##declaration(declaration)
