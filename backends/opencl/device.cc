// Opens a device when its memory or kernels are first needed.
#include "backends/opencl/device.h"

#include <algorithm>

#include "framework/clock.h"

namespace tessera::opencl {
namespace {

constexpr int64_t kReadableBehind = 64;     // shards/shard_format.h: decoders read whole words past the last index
constexpr size_t kMostKeptResidents = 256;  // layers; 10 MB for a BERT-base
constexpr int kCpuAttendRows = 8, kGpuAttendItems = 128;

}  // namespace

Device::Device(const Api& api, const DeviceFacts& facts, std::string name)
    : api_(api),
      facts_(facts),
      name_(std::move(name)),
      programs_(api, facts, name_),
      tuning_(default_tuning(facts)),
      compute_flights_(api),
      link_flights_(api) {}

Device::~Device() {
  for (const cl_command_queue queue : {compute_, link_})
    if (queue != nullptr) api_.clFinish(queue), api_.clReleaseCommandQueue(queue);
  for (const auto& [id, memory] : residents_) api_.clReleaseMemObject(memory);
  if (context_ != nullptr) api_.clReleaseContext(context_);  // kernels and programs hold on to it until they go
}

Error Device::failure(const std::string& what, cl_int code) const {
  return {ErrorCode::kDevice, "device " + name_ + " (" + facts_.name + "): " + what + ": " + error_name(code)};
}

Status Device::open() {
  if (link_ != nullptr) return {};
  cl_int code = CL_SUCCESS;
  const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, reinterpret_cast<cl_context_properties>(facts_.platform),
                                              0};
  if (context_ == nullptr) context_ = api_.clCreateContext(properties, 1, &facts_.id, nullptr, nullptr, &code);
  if (context_ == nullptr) return failure("cannot be opened", code);
  for (cl_command_queue* queue : {&compute_, &link_}) {
    if (*queue == nullptr) *queue = api_.clCreateCommandQueue(context_, facts_.id, CL_QUEUE_PROFILING_ENABLE, &code);
    if (*queue == nullptr) return failure("has no command queue", code);
  }
  return {};
}

Status Device::make_ready() {
  const std::lock_guard held(lock_);
  if (ready_) return {};
  TESSERA_TRY(open());
  TESSERA_ASSIGN(rows_, programs_.rows(context_));
  if (api_.clGetKernelWorkGroupInfo(rows_.attend, facts_.id, CL_KERNEL_WORK_GROUP_SIZE, sizeof attend_limit_, &attend_limit_,
                                    nullptr) != CL_SUCCESS)
    attend_limit_ = 1;
  TESSERA_ASSIGN(few_, choose(tuning_.few, true));
  TESSERA_ASSIGN(many_, choose(tuning_.many, false));
  ready_ = true;
  return {};
}

// `tile`, or the first other candidate that the driver builds: what a kernel needs of registers shows only then.
Result<TileKernels> Device::choose(Tile& tile, bool few) {
  Result<TileKernels> built = programs_.tiles(context_, tile);
  for (const Tile& other : candidates(facts_, few)) {
    if (built.ok()) return built;
    if (Result<TileKernels> second = programs_.tiles(context_, other); second.ok()) {
      tile = other;
      return second;
    }
  }
  return built;
}

Result<Buffer> Device::allocate(Bytes bytes) {
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    return Error{code, "device " + name_ + ": cannot allocate " + to_string(bytes) + ": " + why};
  };
  if (bytes.n <= 0) return refuse(ErrorCode::kInvalid, "ask for a byte or more");
  if (bytes.n > facts_.largest_allocation - kReadableBehind)
    return refuse(ErrorCode::kInfeasible, "its largest buffer is " + to_string(Bytes{facts_.largest_allocation}));
  TESSERA_TRY(make_ready());
  if (allocated_.fetch_add(bytes.n) + bytes.n > facts_.memory_bytes) {
    const int64_t taken = allocated_.fetch_sub(bytes.n) - bytes.n;
    return refuse(ErrorCode::kInfeasible, to_string(Bytes{taken}) + " of its " + to_string(Bytes{facts_.memory_bytes}) +
                                              " are taken; lower --memory or the bits");
  }
  cl_int code = CL_SUCCESS;
  const auto size = static_cast<size_t>((bytes.n + 63) / 64 * 64 + kReadableBehind);
  const cl_mem memory = api_.clCreateBuffer(context_, CL_MEM_READ_WRITE, size, nullptr, &code);
  if (memory == nullptr) {
    allocated_.fetch_sub(bytes.n);
    return refuse(ErrorCode::kDevice, error_name(code) + "; lower --memory or the bits");
  }
  Buffer buffer;
  buffer.native = new DeviceMemory{this, memory, bytes.n};
  buffer.bytes = bytes;
  return buffer;
}

void Device::release(DeviceMemory* memory) {
  memory->owner->api_.clReleaseMemObject(memory->memory);
  memory->owner->allocated_.fetch_sub(memory->bytes);
  delete memory;
}

Commands Device::begin(Queue queue, const std::string& what) {
  auto flight = std::make_shared<Flight>();
  flight->name = name_ + (queue == Queue::kLink ? ".link: " : ": ") + what;
  flight->submitted = WallClock::instance().now();
  return {api_, queue == Queue::kCompute ? compute_ : link_, std::move(flight)};
}

Result<Ticket> Device::launch(Queue queue, Commands& commands) {
  if (Status sent = commands.flush(); !sent.ok()) {
    if (commands.flight()->kept_residents != 0) forget_residents(commands.flight()->kept_residents);
    return sent.error();
  }
  return flights(queue).launch(commands.flight());
}

Status Device::wait(Queue queue, Ticket ticket, Duration deadline) {
  Status status = flights(queue).wait(ticket, deadline);
  // What a failed task should have copied may not be there: copy anew.
  if (queue == Queue::kCompute && !status.ok() && status.error().code == ErrorCode::kDevice)
    while (!residents_.empty()) forget_residents(residents_.begin()->first);
  return status;
}

Tuning Device::tuning() const {
  const std::lock_guard held(lock_);
  return tuning_;
}

Status Device::set_tuning(const Tuning& tuning) {
  const std::lock_guard held(lock_);
  TESSERA_TRY(open());
  TESSERA_ASSIGN(const TileKernels few, programs_.tiles(context_, tuning.few));
  TESSERA_ASSIGN(const TileKernels many, programs_.tiles(context_, tuning.many));
  few_ = few;
  many_ = many;
  tuning_ = tuning;
  return {};
}

void Device::keep_binaries() {
  const std::lock_guard held(lock_);
  programs_.keep(tuning_);
}

Result<TileKernels> Device::tile_kernels(const Tile& tile) {
  const std::lock_guard held(lock_);
  TESSERA_TRY(open());
  return programs_.tiles(context_, tile);
}

int Device::attend_rows(int chunks) const {
  const auto limit = static_cast<int>(std::min<size_t>(attend_limit_, 1024));
  const int wanted = facts_.is_cpu() ? kCpuAttendRows : std::max(1, kGpuAttendItems / chunks);
  const int64_t row_bytes = int64_t{64} * chunks;
  return static_cast<int>(std::min<int64_t>({wanted, limit / chunks, facts_.local_bytes / row_bytes}));
}

cl_mem Device::kept_residents(uint64_t id) const {
  const auto at = residents_.find(id);
  return at == residents_.end() ? nullptr : at->second;
}

cl_mem Device::keep_residents(uint64_t id, int64_t bytes) {
  if (id == 0 || residents_.size() >= kMostKeptResidents) return nullptr;
  cl_int code = CL_SUCCESS;
  const cl_mem memory = api_.clCreateBuffer(context_, CL_MEM_READ_WRITE, static_cast<size_t>(bytes), nullptr, &code);
  if (memory != nullptr) residents_[id] = memory;
  return memory;
}

void Device::forget_residents(uint64_t id) {
  const auto at = residents_.find(id);
  if (at == residents_.end()) return;
  api_.clReleaseMemObject(at->second);
  residents_.erase(at);
}

}  // namespace tessera::opencl
