// Declares what the conformance suite may expect of the CPU backend.
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

const Declaration kCpu = {
    .backend = "cpu",
    .tolerance = 2e-5,  // fp32 sums over up to F terms against the reference's double; the operator tests hold 1e-5
    .unsupported = {},
    .expected_failures = {},
};
TESSERA_CONFORMANCE(kCpu);

}  // namespace tessera::conformance
