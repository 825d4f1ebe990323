// Declares what the conformance suite may expect of the storage backend.
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

const Declaration kStorage = {
    .backend = "storage",
    .tolerance = 0,  // bytes are bytes
    .unsupported = {},
    .expected_failures = {},
};
TESSERA_CONFORMANCE(kStorage);

}  // namespace tessera::conformance
