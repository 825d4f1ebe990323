// Starts steps in order, holds back those that need earlier results, and checks the status words.
#include "backends/fpga/worker/program.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "hls/kernels.h"

namespace tessera::fpga {
namespace {

Reply failure(Outcome outcome, size_t step, const std::string& why) {
  Reply reply;
  reply.outcome = outcome;
  reply.step = static_cast<uint32_t>(step);
  std::snprintf(reply.text, sizeof reply.text, "%s", why.c_str());
  return reply;
}

std::string kernel_of(const Step& step) { return {step.kernel, ::strnlen(step.kernel, sizeof step.kernel)}; }

size_t status_offset(size_t step) { return step * sizeof(uint32_t); }

const char* meaning(uint32_t status) {
  switch (status) {
    case hls::kStatusRefused:
      return "refused its arguments";
    case hls::kStatusOverflow:
      return "met a value outside the range of the grid of sums";
    case 0:
      return "ended without its status word";
    default:
      return "left a status word that means nothing";
  }
}

}  // namespace

const Region& ProgramRunner::region_of(uint32_t id, int64_t offset, int64_t bytes) {
  auto& region = regions_[id];
  if (region == nullptr) region = session_.find(id);
  if (region == nullptr) throw std::invalid_argument("region " + std::to_string(id) + " is unknown");
  if (offset < 0 || bytes <= 0 || offset > region->bytes || bytes > region->bytes - offset) {
    throw std::invalid_argument(std::to_string(bytes) + " bytes at " + std::to_string(offset) + " of region " +
                                std::to_string(id) + ", which has " + std::to_string(region->bytes));
  }
  return *region;
}

void ProgramRunner::copy(const Step& step) {
  const Region& region = region_of(step.region, step.offset, step.bytes);
  const auto bytes = static_cast<size_t>(step.bytes), offset = static_cast<size_t>(step.offset);
  xrt::bo buffer = region.buffer;
  if (step.kind == StepKind::kToDevice) {
    std::memcpy(region.on_device + offset, region.shared + offset, bytes);
    buffer.sync(XCL_BO_SYNC_BO_TO_DEVICE, bytes, offset);
  } else {
    buffer.sync(XCL_BO_SYNC_BO_FROM_DEVICE, bytes, offset);
    std::memcpy(region.shared + offset, region.on_device + offset, bytes);
  }
}

void ProgramRunner::bind(const Step& step, xrt::run& run, size_t index) {
  for (uint32_t i = 0; i < step.arguments; ++i) {
    const Argument& a = step.argument[i];
    const int at = static_cast<int>(i);
    switch (a.kind) {
      case ArgumentKind::kScalar:
        run.set_arg(at, a.value);
        break;
      case ArgumentKind::kBuffer:
        run.set_arg(at, region_of(a.value, 0, 1).buffer);
        break;
      case ArgumentKind::kStatus:
        run.set_arg(at, status_.buffer);
        break;
      case ArgumentKind::kStatusAt:
        run.set_arg(at, static_cast<uint32_t>(index));
    }
  }
}

void ProgramRunner::start(const Step& step, size_t index) {
  if (step.arguments > kMaxArguments) throw std::invalid_argument("more arguments than a step has");
  RunSlot* slot = session_.take(kernel_of(step));
  try {
    bind(step, slot->run, index);
    session_.start(*slot);
  } catch (...) {
    session_.give_back(kernel_of(step), slot);
    throw;
  }
  running_[index] = slot;
}

bool ProgramRunner::finish_before(size_t end, Moment deadline) {
  for (; finished_ < end; ++finished_) {
    RunSlot*& slot = running_[finished_];
    if (slot == nullptr) continue;
    if (!session_.wait(*slot, deadline)) return false;
    session_.give_back(kernel_of(steps_[finished_]), slot);
    slot = nullptr;
  }
  return true;
}

void ProgramRunner::clear_status(size_t steps) {
  if (!status_.buffer) status_ = session_.make_status_words();
  std::memset(status_.words, 0, status_offset(steps));
  status_.buffer.sync(XCL_BO_SYNC_BO_TO_DEVICE, status_offset(steps), 0);
}

Reply ProgramRunner::read_status() {
  status_.buffer.sync(XCL_BO_SYNC_BO_FROM_DEVICE, status_offset(steps_.size()), 0);
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].kind != StepKind::kRun) continue;
    uint32_t word = 0;
    std::memcpy(&word, status_.words + status_offset(i), sizeof word);
    if (word != hls::kStatusDone)
      return failure(Outcome::kFailed, i, "kernel " + kernel_of(steps_[i]) + " " + meaning(word));
  }
  return {};
}

// Starts what there is to start; `at` counts the steps that were reached. Ends early where the deadline passes.
void ProgramRunner::start_all(Moment deadline, size_t* at) {
  for (; *at < steps_.size(); ++*at) {
    if (!finish_before(std::min<size_t>(steps_[*at].after, *at), deadline)) return;
    if (steps_[*at].kind == StepKind::kRun)
      start(steps_[*at], *at);
    else
      copy(steps_[*at]);
  }
}

Reply ProgramRunner::run(std::span<const Step> steps, std::chrono::milliseconds limit) {
  const Moment begin = std::chrono::steady_clock::now(), deadline = begin + limit;
  steps_ = steps;
  running_.assign(steps.size(), nullptr);
  finished_ = 0;
  const bool runs = std::any_of(steps.begin(), steps.end(), [](const Step& s) { return s.kind == StepKind::kRun; });
  size_t at = 0;
  Reply reply;
  try {
    if (runs) clear_status(steps.size());
    start_all(deadline, &at);
  } catch (const std::exception& e) { reply = failure(Outcome::kRefused, at, e.what()); }
  if (!finish_before(at, deadline)) {
    return failure(Outcome::kLate, finished_,
                   "kernel " + kernel_of(steps[finished_]) + " did not end within " + std::to_string(limit.count()) + " ms");
  }
  regions_.clear();
  try {
    if (runs && reply.outcome == Outcome::kDone) reply = read_status();
  } catch (const std::exception& e) { reply = failure(Outcome::kRefused, at, e.what()); }
  reply.number = std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  return reply;
}

}  // namespace tessera::fpga
