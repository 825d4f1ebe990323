// Declares what the conformance suite may expect of the null backend.
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

const Declaration kNull = {
    .backend = "null",
    .computes = false,          // outputs stay as they are: only the contract is tested
    .probe_unavailable = true,  // it needs no hardware, so it is tested although it is never picked
    .tolerance = 0,
    .unsupported = {},
    .expected_failures = {},
};
TESSERA_CONFORMANCE(kNull);

}  // namespace tessera::conformance
