// Declares what the conformance suite may expect of the FPGA backend.
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

const Declaration kFpga = {
    .backend = "fpga",
    .tolerance = 2e-5,  // the fp32 kernels add up to F terms in fp32, like the CPU's; sums over slices are exact
    .unsupported = {},
    .expected_failures = {},
};
TESSERA_CONFORMANCE(kFpga);

}  // namespace tessera::conformance
