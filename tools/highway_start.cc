// Stands in for one function of libhwy, so that starting the command does not pay for Highway's benchmark.
//
// libhwy 1.0.3 measures the timer's resolution in a static initialiser of nanobenchmark.cc: 4 ms of each process's start on
// an AMD EPYC of 2 cores (perf, 2026-11), of 6 ms in all. Nothing here uses nanobenchmark. The executable's definition comes
// before the library's in symbol lookup, and the library calls its own through the PLT.
#include <hwy/nanobenchmark.h>

namespace hwy::platform {

uint64_t TimerResolution() { return 1; }

}  // namespace hwy::platform
