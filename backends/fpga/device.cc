// Turns tasks into programs, and what the worker answers into results.
#include "backends/fpga/device.h"

#include <algorithm>
#include <cstring>

namespace tessera::fpga {
namespace {

using std::chrono::steady_clock;

constexpr int64_t kPage = 4096;
constexpr int64_t kReadableBehind = 64;                    // shards/shard_format.h
constexpr int64_t kMostPooled = 32 << 20;                  // bytes of released buffers that are kept
constexpr std::chrono::milliseconds kControlLimit{5'000};  // to make or refill a buffer
constexpr std::chrono::milliseconds kStartLimit{25'000};   // to get a worker
constexpr std::chrono::milliseconds kBeyondWorker{500};    // the backend's deadline behind the worker's own
constexpr int kLimitOverExpected = 20;

std::chrono::milliseconds to_ms(Duration d) { return std::chrono::milliseconds(d.ns / 1'000'000); }

}  // namespace

std::string name_of(const Task& task) {
  const std::string number = task.id == kNoTask ? "a task" : "task " + std::to_string(task.id);
  return task.layer < 0 ? number : number + " (layer " + std::to_string(task.layer) + ")";
}

Device::Device(const WorkerPlan& plan, Bytes capacity, Milliseconds least_limit)
    : name_(plan.device), capacity_(capacity), least_limit_(least_limit), keeper_(plan) {}

Error Device::error(ErrorCode code, const std::string& task, const std::string& what) const {
  return {code, "device " + name_ + ": " + task + ": " + what};
}

RegionRef Device::find(const void* native) {
  const std::lock_guard lock(mutex_);
  const auto at = regions_.find(native);
  return at == regions_.end() ? nullptr : at->second;
}

Result<RegionRef> Device::make_region(Bytes bytes) {
  const int64_t padded = align_up(bytes + Bytes{kReadableBehind}, kPage).n;
  {
    const std::lock_guard lock(mutex_);
    const auto at = pool_.lower_bound(padded);
    if (at != pool_.end() && at->first <= padded + padded / 4) {
      RegionRef region = at->second;
      pooled_ -= at->first;
      pool_.erase(at);
      region->bytes = bytes.n;
      return region;
    }
  }
  auto region = std::make_shared<BackendRegion>();
  region->id = ++last_region_;
  region->bytes = bytes.n;
  TESSERA_ASSIGN(region->memory, SharedMemory::make(padded));
  return region;
}

Result<RegionRef> Device::allocate(Bytes bytes) {
  const std::string what = "allocate " + to_string(bytes);
  if (bytes.n <= 0) return error(ErrorCode::kInvalid, what, "ask for a byte or more");
  if (bytes > capacity_) return error(ErrorCode::kInfeasible, what, "it has " + to_string(capacity_));
  TESSERA_ASSIGN(RegionRef region, make_region(bytes));
  TESSERA_ASSIGN(const std::shared_ptr<WorkerProcess> worker, keeper_.worker(steady_clock::now() + kStartLimit));
  TESSERA_TRY(ensure(*worker, *region, what));
  const std::lock_guard lock(mutex_);
  regions_[region.get()] = region;
  return region;
}

// Kept for the next allocation of its size; beyond what is kept, the oldest of the largest goes, with its device buffer.
void Device::release(void* native) {
  RegionRef region;
  {
    const std::lock_guard lock(mutex_);
    const auto at = regions_.find(native);
    if (at == regions_.end()) return;
    region = std::move(at->second);
    regions_.erase(at);
    {
      const std::lock_guard inner(region->mutex);
      region->on_host.clear(), region->device_only.clear(), region->lost.clear();
    }
    const int64_t size = region->memory.bytes();
    pooled_ += size;
    pool_.emplace(size, std::move(region));
    region = nullptr;
    if (pooled_ <= kMostPooled) return;
    const auto largest = std::prev(pool_.end());
    region = largest->second;
    pooled_ -= largest->first;
    pool_.erase(largest);
  }
  drop(*region);
}

void Device::drop(const BackendRegion& region) {
  const auto worker = keeper_.running();
  if (worker == nullptr || region.life != worker->life()) return;
  Request destroy;
  destroy.call = Call::kDestroy;
  destroy.region = region.id;
  Reply reply;
  if (worker->call(kControlChannel, destroy, -1, steady_clock::now() + kControlLimit, &reply) == Passage::kLate)
    keeper_.give_up(*worker, "its worker does not release buffers");
}

Status Device::ensure(WorkerProcess& worker, BackendRegion& region, const std::string& task) {
  const std::lock_guard lock(region.mutex);
  if (region.life == worker.life()) return {};
  region.worker_died();
  Request create;
  create.call = Call::kCreate;
  create.region = region.id;
  create.bytes = region.memory.bytes();
  Reply reply;
  const Passage made = worker.call(kControlChannel, create, region.memory.fd(), steady_clock::now() + kControlLimit, &reply);
  TESSERA_TRY(judge(worker, made, reply, task, kControlLimit));
  Program refill;
  for (const auto& [first, last] : region.on_host.ranges()) {
    Step step;
    step.kind = StepKind::kToDevice;
    step.region = region.id;
    step.offset = first;
    step.bytes = last - first;
    refill.add(step);
  }
  for (std::span<const Step> left = refill.steps(); !left.empty();
       left = left.subspan(std::min<size_t>(left.size(), kMaxSteps))) {
    const Passage filled = worker.run(kControlChannel, left.first(std::min<size_t>(left.size(), kMaxSteps)), kControlLimit,
                                      steady_clock::now() + kControlLimit + kBeyondWorker, &reply);
    TESSERA_TRY(judge(worker, filled, reply, task, kControlLimit));
  }
  region.life = worker.life();
  return {};
}

Status Device::judge(WorkerProcess& worker, Passage passage, const Reply& reply, const std::string& task,
                     Milliseconds limit) {
  if (passage == Passage::kLate) {
    const std::string why = "its worker did not answer within " + std::to_string(limit.count()) + " ms and was ended";
    keeper_.give_up(worker, why);
    return error(ErrorCode::kDevice, task, keeper_.cause(worker) + "; the next task starts another");
  }
  if (passage == Passage::kGone)
    return error(ErrorCode::kDevice, task, keeper_.cause(worker) + "; the next task starts another worker");
  switch (reply.outcome) {
    case Outcome::kDone:
      return {};
    case Outcome::kNoMemory:
      return error(ErrorCode::kDevice, task, "no room on the device: " + std::string(reply.text) + "; give it less");
    case Outcome::kLate:
      keeper_.give_up(worker, reply.text);
      return error(ErrorCode::kDevice, task, keeper_.cause(worker) + "; its worker was ended, the next task starts another");
    case Outcome::kRefused:
    case Outcome::kFailed:
      break;
  }
  return error(ErrorCode::kDevice, task, "step " + std::to_string(reply.step) + ": " + reply.text);
}

Status Device::check_lost(const Program& program, const std::string& task) const {
  for (const Span& read : program.all_reads()) {
    const std::lock_guard lock(read.region->mutex);
    if (read.region->lost.overlaps(read.offset, read.offset + read.bytes))
      return error(ErrorCode::kDevice, task, "its input was computed by a worker that has died; run the request again");
  }
  return {};
}

Status Device::execute(Channel channel, const Program& program, const std::string& task, Milliseconds limit) {
  TESSERA_ASSIGN(const std::shared_ptr<WorkerProcess> worker, keeper_.worker(steady_clock::now() + kStartLimit));
  for (const Span& used : program.all_uses()) TESSERA_TRY(ensure(*worker, *used.region, task));
  TESSERA_TRY(check_lost(program, task));
  for (const Span& span : program.all_writes()) {
    const std::lock_guard lock(span.region->mutex);
    span.region->computed(span.offset, span.offset + span.bytes);
  }
  std::vector<Step> window;
  for (size_t first = 0; first < program.steps().size(); first += kMaxSteps) {
    const size_t count = std::min<size_t>(kMaxSteps, program.steps().size() - first);
    window.assign(program.steps().begin() + static_cast<std::ptrdiff_t>(first),
                  program.steps().begin() + static_cast<std::ptrdiff_t>(first + count));
    for (Step& step : window) step.after -= std::min(step.after, static_cast<uint32_t>(first));
    Reply reply;
    const Passage passage = worker->run(channel, window, limit, steady_clock::now() + limit + kBeyondWorker, &reply);
    TESSERA_TRY(judge(*worker, passage, reply, task, limit));
  }
  for (const Span& span : program.copies()) {
    const std::lock_guard lock(span.region->mutex);
    span.region->copied(span.offset, span.offset + span.bytes);
  }
  return {};
}

Status Device::move(Channel channel, const Task& task, std::span<const Move> moves) {
  const std::string name = name_of(task);
  Program program;
  int64_t bytes = 0;
  std::vector<std::pair<std::byte*, Span>> fetched;
  for (const Move& m : moves) {
    if (m.bytes.n == 0) continue;
    bytes += m.bytes.n;
    const bool out = m.to && m.to.buffer->native == nullptr;
    const MemoryRef& host = out ? m.to : m.from;
    if (!host || host.buffer->host == nullptr || host.offset < 0 || m.bytes.n < 0 ||
        m.bytes.n > host.buffer->bytes.n - host.offset)
      return error(ErrorCode::kInvalid, name, to_string(m.bytes) + " do not lie in host memory; check offset and size");
    auto placed = place(out ? m.from : m.to, m.bytes.n, "a transfer's end", 1);
    if (!placed.ok()) return error(placed.error().code, name, placed.error().message);
    const Span& span = *placed;
    std::byte* shared = span.region->memory.data() + span.offset;
    if (out) {
      program.reads(span);
      program.to_host(span, 0);
      fetched.emplace_back(host.as<std::byte>(), span);
    } else {
      std::memcpy(shared, host.as<std::byte>(), static_cast<size_t>(m.bytes.n));
      program.to_device(span);
    }
  }
  if (program.steps().empty()) return {};
  TESSERA_TRY(execute(channel, program, name, least_limit_ + Milliseconds(bytes >> 16)));  // 64 MB/s at least
  for (const auto& [to, span] : fetched)
    std::memcpy(to, span.region->memory.data() + span.offset, static_cast<size_t>(span.bytes));
  return {};
}

Status Device::compute(const Task& task, const Operands& operands, Duration expected) {
  const std::string name = name_of(task);
  auto bound = bind(task, operands);
  if (!bound.ok()) return error(bound.error().code, name, bound.error().message);
  Program program;
  for (const Span* span : {&bound->input, &bound->output, &bound->workspace, &bound->residents})
    if (span->region != nullptr) program.uses(*span);
  program.reads(bound->input);
  for (const Span& partial : bound->partials) program.reads(partial), program.uses(partial);
  for (const auto& weights : bound->weights) program.reads(weights.span), program.uses(weights.span);
  program.writes(bound->output);
  if (bound->fresh_residents) program.to_device(bound->residents);
  if (const Status built = build_compute(*bound, program); !built.ok())
    return error(built.error().code, name, built.error().message);
  return execute(kComputeChannel, program, name, least_limit_ + to_ms(expected) * kLimitOverExpected);
}

}  // namespace tessera::fpga
