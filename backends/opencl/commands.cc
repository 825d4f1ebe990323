// Enqueues without blocking, and remembers the first error.
#include "backends/opencl/commands.h"

namespace tessera::opencl {

void Commands::note(cl_int code, const char* what, cl_event event) {
  if (code == CL_SUCCESS && event != nullptr) flight_->events.push_back(event);
  if (code == CL_SUCCESS || !status_.ok()) return;
  const bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES;
  status_ = Error{ErrorCode::kDevice, flight_->name + ": " + what + ": " + error_name(code) +
                                          (memory ? "; the device's memory may be full: lower --memory or the batch" : "")};
}

void Commands::write(Place to, const void* from, int64_t bytes) {
  if (failed() || bytes == 0) return;
  cl_event event = nullptr;
  const cl_int code = api_.clEnqueueWriteBuffer(queue_, to.memory, CL_FALSE, static_cast<size_t>(to.at),
                                                static_cast<size_t>(bytes), from, 0, nullptr, &event);
  note(code, "copying to the device", event);
}

void Commands::read(void* to, Place from, int64_t bytes) {
  if (failed() || bytes == 0) return;
  cl_event event = nullptr;
  const cl_int code = api_.clEnqueueReadBuffer(queue_, from.memory, CL_FALSE, static_cast<size_t>(from.at),
                                               static_cast<size_t>(bytes), to, 0, nullptr, &event);
  note(code, "copying from the device", event);
}

void Commands::copy(Place to, Place from, int64_t bytes) {
  if (failed() || bytes == 0) return;
  cl_event event = nullptr;
  const cl_int code = api_.clEnqueueCopyBuffer(queue_, from.memory, to.memory, static_cast<size_t>(from.at),
                                               static_cast<size_t>(to.at), static_cast<size_t>(bytes), 0, nullptr, &event);
  note(code, "copying on the device", event);
}

void Commands::set_bytes(cl_kernel kernel, size_t bytes, const void* value) {
  if (failed()) return;
  note(api_.clSetKernelArg(kernel, next_, bytes, value), ("kernel argument " + std::to_string(next_)).c_str(), nullptr);
  ++next_;
}

void Commands::set(cl_kernel kernel, const Place& place) {
  const cl_ulong at = static_cast<cl_ulong>(place.at);
  set_bytes(kernel, sizeof(cl_mem), &place.memory);
  set_bytes(kernel, sizeof at, &at);
}

void Commands::set(cl_kernel kernel, const Slots& slots) {
  for (const cl_mem& memory : slots) set_bytes(kernel, sizeof(cl_mem), &memory);
}

void Commands::set(cl_kernel kernel, const LocalBytes& local) { set_bytes(kernel, local.bytes, nullptr); }

void Commands::enqueue(cl_kernel kernel, Range groups, Range local) {
  if (failed()) return;
  const size_t local_size[] = {local.x, local.y}, global_size[] = {groups.x * local.x, groups.y * local.y};
  cl_event event = nullptr;
  const cl_int code = api_.clEnqueueNDRangeKernel(queue_, kernel, 2, nullptr, global_size, local_size, 0, nullptr, &event);
  note(code, "starting a kernel", event);
}

Status Commands::flush() {
  if (!failed()) note(api_.clFlush(queue_), "flushing the queue", nullptr);
  if (!failed()) return {};
  return abandon(status_);
}

Error Commands::abandon(const Status& why) {
  api_.clFinish(queue_);  // what was enqueued reads host memory that the caller may free now
  for (const cl_event e : flight_->events) api_.clReleaseEvent(e);
  flight_->events.clear();
  return why.error();
}

}  // namespace tessera::opencl
