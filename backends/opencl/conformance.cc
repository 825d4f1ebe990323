// Declares what the conformance suite may expect of the OpenCL backend.
#include "tests/conformance/declaration.h"

namespace tessera::conformance {

const Declaration kOpenCl = {
    .backend = "opencl",
    .tolerance = 2e-5,  // fp32 sums over up to F terms, erf within 1.5e-7, a driver's exp within 3 ulp (OpenCL C 7.4)
    .unsupported = {},
    .expected_failures = {},
};
TESSERA_CONFORMANCE(kOpenCl);

}  // namespace tessera::conformance
