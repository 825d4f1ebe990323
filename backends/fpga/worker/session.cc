// Opens and uses a device through XRT; the same calls for a card and for software emulation.
#include "backends/fpga/worker/session.h"

#include <stdexcept>

#include <sys/mman.h>
#include <unistd.h>

namespace tessera::fpga {
namespace {

constexpr size_t kStatusBytes = static_cast<size_t>(kMaxSteps) * sizeof(uint32_t);

}  // namespace

Region::~Region() {
  if (shared != nullptr) ::munmap(shared, static_cast<size_t>(bytes));
}

Session::Session(unsigned index, const std::string& xclbin) : device_(index), uuid_(device_.load_xclbin(xclbin)) {}

std::string Session::device_name() const { return device_.get_info<xrt::info::device::name>(); }

void Session::create(uint32_t region, int64_t bytes, int fd) {
  auto made = std::make_shared<Region>();
  void* shared = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (shared == MAP_FAILED) throw std::bad_alloc();
  made->shared = static_cast<std::byte*>(shared);
  made->bytes = bytes;
  made->buffer = xrt::bo(device_, static_cast<size_t>(bytes), xrt::bo::flags::normal, 0);
  made->on_device = made->buffer.map<std::byte*>();
  const std::lock_guard lock(mutex_);
  regions_[region] = std::move(made);
}

void Session::destroy(uint32_t region) {
  std::shared_ptr<Region> last;  // freed outside the lock
  const std::lock_guard lock(mutex_);
  const auto at = regions_.find(region);
  if (at == regions_.end()) return;
  last = std::move(at->second);
  regions_.erase(at);
}

std::shared_ptr<Region> Session::find(uint32_t region) {
  const std::lock_guard lock(mutex_);
  const auto at = regions_.find(region);
  return at == regions_.end() ? nullptr : at->second;
}

StatusWords Session::make_status_words() {
  StatusWords status{xrt::bo(device_, kStatusBytes, xrt::bo::flags::normal, 0), nullptr};
  status.words = status.buffer.map<std::byte*>();
  return status;
}

// Called with the mutex held.
KernelRuns& Session::runs_of(const std::string& kernel) {
  const auto at = kernels_.find(kernel);
  if (at != kernels_.end()) return at->second;
  return kernels_.emplace(kernel, KernelRuns{xrt::kernel(device_, uuid_, kernel), {}}).first->second;
}

RunSlot* Session::take(const std::string& kernel) {
  const std::lock_guard lock(mutex_);
  KernelRuns& runs = runs_of(kernel);
  if (!runs.free.empty()) {
    RunSlot* slot = runs.free.back().release();
    runs.free.pop_back();
    return slot;
  }
  auto slot = std::make_unique<RunSlot>();
  slot->run = xrt::run(runs.kernel);
  slot->run.add_callback(
      ERT_CMD_STATE_COMPLETED,
      [this](const void*, ert_cmd_state, void* ended) {
        {
          const std::lock_guard inner(mutex_);
          static_cast<RunSlot*>(ended)->ended = true;
        }
        run_ended_.notify_all();
      },
      slot.get());
  return slot.release();
}

void Session::give_back(const std::string& kernel, RunSlot* slot) {
  const std::lock_guard lock(mutex_);
  runs_of(kernel).free.emplace_back(slot);
}

void Session::start(RunSlot& slot) {
  {
    const std::lock_guard lock(mutex_);
    slot.ended = false;
  }
  slot.run.start();
}

bool Session::wait(const RunSlot& slot, Moment deadline) {
  std::unique_lock lock(mutex_);
  return run_ended_.wait_until(lock, deadline, [&] { return slot.ended; });
}

}  // namespace tessera::fpga
