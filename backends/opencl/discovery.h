// Finds the OpenCL devices of this machine without trusting its drivers.
#pragma once

#include <string>
#include <vector>

#include "backends/opencl/api.h"
#include "framework/units.h"

namespace tessera::opencl {

// What a device says about itself.
struct DeviceFacts {
  cl_device_id id = nullptr;
  cl_platform_id platform = nullptr;
  std::string name, vendor, platform_name, version, driver;
  cl_device_type type = 0;
  bool unified = false;  // CL_DEVICE_HOST_UNIFIED_MEMORY
  bool doubles = false;  // cl_khr_fp64
  unsigned units = 1, megahertz = 1000, vector_width = 1;
  size_t group_limit = 1;
  int64_t local_bytes = 0, memory_bytes = 0, largest_allocation = 0;
  std::string unusable;  // why it cannot run this backend's kernels; empty: it can
  bool is_cpu() const { return (type & CL_DEVICE_TYPE_CPU) != 0; }
};

struct Discovery {
  Api api;                           // complete where `why` is empty
  std::vector<DeviceFacts> devices;  // of all platforms, in the loader's order
  std::string why;                   // why there are none: what is missing, and the remedy
};

// Opens the loader `library` in a forked child first: a driver that crashes or hangs when it is loaded must not take this
// process along. Only when the child came back well is the loader opened here. The library stays open for ever (drivers
// start threads).
Discovery discover(const char* library, Duration patience);
// libOpenCL.so.1, once a process. Thread-safe.
const Discovery& machine();

}  // namespace tessera::opencl
