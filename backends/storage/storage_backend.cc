// Executes loads from local storage: the device disk0.
//
// A load is driven by the thread that waits for it (the device's lane, whose business blocking is): io_uring needs no thread
// of its own, and without it the reads block in one (pread_engine.cc). What was submitted goes on meanwhile in the kernel.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include <unistd.h>

#include "backends/storage/load_job.h"
#include "framework/clock.h"
#include "framework/registry.h"

namespace tessera {
namespace {

using storage::LoadJob;

constexpr int64_t kAlignment = 4096;
// Until calibrated: an ordinary SSD's figures.
constexpr Duration kGuessedLatency = microseconds(100);
constexpr BytesPerSecond kGuessedBandwidth{1e9};

bool is_load(Op op) { return op == Op::kLoadShards || op == Op::kLoadRows || op == Op::kLoadExit; }

Error unusable(const ReadRequest& r, const std::string& what) {
  return {ErrorCode::kInternal, "disk0: " + std::string(r.file) + ": read of " + std::to_string(r.length) + " B at " +
                                    std::to_string(r.offset) + ": " + what};
}

Status check(const ReadRequest& r) {
  if (r.fd < 0) return unusable(r, "the file is not open");
  if (r.offset < 0 || r.length <= 0) return unusable(r, "offset and length must be positive");
  if (r.offset % kAlignment != 0 || r.length % kAlignment != 0) return unusable(r, "not a multiple of 4096");
  if (!r.to || r.to.buffer->host == nullptr) return unusable(r, "no host memory to read to");
  if (r.to.offset < 0 || r.to.offset > r.to.buffer->bytes.n - r.length) {
    return unusable(r, "does not fit at " + std::to_string(r.to.offset) + " of a buffer of " +
                           std::to_string(r.to.buffer->bytes.n) + " B");
  }
  return {};
}

class StorageBackend final : public Backend {
 public:
  explicit StorageBackend(const BackendOptions& options) : cap_(options.bandwidth_cap), pace_(options.bandwidth_cap) {}
  ~StorageBackend() override {
    // Kernel and reader still write to the memory of loads that nobody waited for.
    const Duration limit = WallClock::instance().now() + milliseconds(5000);
    for (auto& [ticket, job] : jobs_) {
      job->request_cancel();
      job->advance(limit);
    }
    engine_.reset();  // before the loads that it may still hold reads of
  }

  std::vector<DeviceDescription> describe() const override {
    open();
    DeviceDescription d;
    d.name = "disk0";
    d.kind = DeviceKind::kStorage;
    d.backend = TESSERA_PLUGIN_NAME;
    d.why = refusal_.empty() ? "" : refusal_ + "; reads with pread";
    d.properties = {{"engine", std::string(engine_->name())}};
    if (pace_.limited()) d.properties.emplace_back("bandwidth cap", to_string(cap_));
    return {d};
  }

  Support supports(int device, const CostKey& key, const ModelShape&) const override {
    if (device != 0) return {false, "storage has one device, disk0; " + std::to_string(device) + " given"};
    if (!is_load(key.op)) return {false, "disk0 executes loads only"};
    return {};
  }

  Estimate estimate(int, const CostKey& key, const ModelShape&) const override {
    const double bandwidth = pace_.limited() ? cap_.value : kGuessedBandwidth.value;
    Estimate e;
    if (!is_load(key.op)) return e;
    e.mean = kGuessedLatency + from_seconds(static_cast<double>(key.bytes) / bandwidth);
    e.p95 = e.mean * 2;
    e.provenance = Provenance::kGuessed;
    return e;
  }

  Result<Buffer> allocate(int device, Bytes bytes) override {
    if (bytes.n < 0 || bytes.n > INT64_MAX - kAlignment) {
      return Error{ErrorCode::kInternal, "disk0: cannot allocate " + std::to_string(bytes.n) + " B"};
    }
    const Bytes whole = align_up(std::max(bytes, Bytes{1}), kAlignment);
    void* memory = std::aligned_alloc(kAlignment, static_cast<size_t>(whole.n));
    if (memory == nullptr) {
      return Error{ErrorCode::kInfeasible, "disk0: " + to_string(bytes) + " of host memory cannot be had; lower --memory"};
    }
    Buffer buffer;
    buffer.host = static_cast<std::byte*>(memory);
    buffer.bytes = bytes;
    buffer.device = static_cast<DeviceId>(device);
    return buffer;
  }

  void release(Buffer& buffer) override {
    std::free(buffer.host);
    buffer = {};
  }

  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override {
    const Support support = supports(device, task.cost, operands.shape != nullptr ? *operands.shape : ModelShape{});
    if (!support.yes) return Error{ErrorCode::kInternal, support.why};
    for (const ReadRequest& r : operands.reads) TESSERA_TRY(check(r));
    if (operands.reads.empty()) return kDone;
    open();
    auto job = std::make_unique<LoadJob>(operands.reads, engine_.get(), &pace_);
    LoadJob* started = job.get();
    Ticket ticket = 0;
    {
      const std::lock_guard lock(mutex_);
      ticket = ++last_ticket_;
      jobs_.emplace(ticket, std::move(job));
    }
    // Loads run one after another: the engine's completions then all belong to the oldest.
    if (active_ == nullptr) {
      active_ = started;
      active_->begin();
    }
    return ticket;
  }

  Status wait(int, Ticket ticket, Duration deadline) override {
    if (ticket == kDone) return {};
    while (true) {
      LoadJob* job = find(ticket);
      if (job == nullptr) {
        return Error{ErrorCode::kInternal, "disk0: ticket " + std::to_string(ticket) + " is not one that can be waited for"};
      }
      if (job != active_ && ended_.contains(ticket)) return finish(ticket);
      if (!active_->advance(deadline)) return Error{ErrorCode::kDeadline, "disk0: the load is still running"};
      activate_next();
    }
  }

  Status transfer(int, MemoryRef to, MemoryRef from, Bytes bytes) override {
    const auto fits = [&](const MemoryRef& m) {
      return m && m.buffer->host != nullptr && m.offset >= 0 && m.offset <= m.buffer->bytes.n - bytes.n;
    };
    if (bytes.n < 0 || !fits(to) || !fits(from)) {
      return Error{ErrorCode::kInternal, "disk0: a copy of " + std::to_string(bytes.n) + " B does not fit its buffers"};
    }
    std::memmove(to.as<std::byte>(), from.as<std::byte>(), static_cast<size_t>(bytes.n));
    return {};
  }

  void cancel(int, Ticket ticket) override {
    const std::lock_guard lock(mutex_);
    if (const auto found = jobs_.find(ticket); found != jobs_.end()) found->second->request_cancel();
  }

 private:
  void open() const {
    std::call_once(opened_, [&] {
      auto engine = storage::make_uring_engine();
      if (engine.ok()) {
        engine_ = engine.take();
      } else {
        refusal_ = engine.error().message;
        engine_ = storage::make_pread_engine();
      }
    });
  }

  LoadJob* find(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(ticket);
    return found == jobs_.end() ? nullptr : found->second.get();
  }

  // The active load has ended: the next one that was submitted becomes active.
  void activate_next() {
    const std::lock_guard lock(mutex_);
    LoadJob* next = nullptr;
    for (auto& [ticket, job] : jobs_) {
      if (job.get() == active_) ended_.insert(ticket);
      if (next == nullptr && !ended_.contains(ticket)) next = job.get();
    }
    active_ = next;
    if (active_ != nullptr) active_->begin();
  }

  Status finish(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(ticket);
    Status status = found->second->status();
    jobs_.erase(found);
    ended_.erase(ticket);
    return status;
  }

  const BytesPerSecond cap_;
  storage::Pace pace_;
  mutable std::once_flag opened_;
  mutable std::unique_ptr<storage::ReadEngine> engine_;
  mutable std::string refusal_;  // why io_uring is not used; empty where it is
  std::mutex mutex_;             // of jobs_ and last_ticket_: cancel comes from other threads
  std::map<Ticket, std::unique_ptr<LoadJob>> jobs_;
  Ticket last_ticket_ = 0;
  LoadJob* active_ = nullptr;
  std::set<Ticket> ended_;  // but not yet waited for
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_BACKEND(tessera::StorageBackend)
