// Names the OpenCL functions that are used, as a table filled from the ICD loader when it is opened.
#pragma once

#include <string>

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

// One line a function: OpenCL 1.2, full profile.
#define TESSERA_OPENCL_FUNCTIONS(f)                                                                                         \
  f(clGetPlatformIDs) f(clGetPlatformInfo) f(clGetDeviceIDs) f(clGetDeviceInfo) f(clCreateContext) f(clReleaseContext)      \
      f(clCreateCommandQueue) f(clReleaseCommandQueue) f(clCreateBuffer) f(clReleaseMemObject) f(clCreateProgramWithSource) \
          f(clCreateProgramWithBinary) f(clBuildProgram) f(clGetProgramBuildInfo) f(clGetProgramInfo) f(clReleaseProgram)   \
              f(clCreateKernel) f(clReleaseKernel) f(clSetKernelArg) f(clGetKernelWorkGroupInfo) f(clEnqueueNDRangeKernel)  \
                  f(clEnqueueWriteBuffer) f(clEnqueueReadBuffer) f(clEnqueueCopyBuffer) f(clFlush) f(clFinish)              \
                      f(clGetEventInfo) f(clGetEventProfilingInfo) f(clSetEventCallback) f(clReleaseEvent)

namespace tessera::opencl {

struct Api {
#define TESSERA_OPENCL_MEMBER(name) decltype(&::name) name = nullptr;  // NOLINT(bugprone-macro-parentheses): declares it
  TESSERA_OPENCL_FUNCTIONS(TESSERA_OPENCL_MEMBER)
#undef TESSERA_OPENCL_MEMBER
};

// "CL_OUT_OF_RESOURCES (-5)".
std::string error_name(cl_int code);

}  // namespace tessera::opencl
