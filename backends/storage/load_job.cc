// Executes one load.
#include "backends/storage/load_job.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "framework/clock.h"

namespace tessera::storage {
namespace {

// Large enough to amortise a request, small enough that checking one overlaps with reading the next (`bench_storage`).
constexpr int64_t kChunk = 256 << 10;
constexpr int64_t kDeepest = 4 << 20;  // bytes in flight: 16 chunks
constexpr int64_t kAlignment = 4096;
constexpr int kMostRetries = 100;
constexpr Duration kLook = milliseconds(20);  // how often a wait looks for a cancellation

bool adjacent(const ReadRequest& a, const ReadRequest& b) {
  return a.fd == b.fd && a.offset + a.length == b.offset && a.to.buffer == b.to.buffer &&
         a.to.offset + a.length == b.to.offset;
}

std::string place(const ReadRequest& r) {
  return std::string(r.file) + ": bytes [" + std::to_string(r.offset) + ", " + std::to_string(r.offset + r.length) + ")";
}

// For messages: a later chunk may meet the end first.
int64_t file_size(int fd, int64_t otherwise) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_size : otherwise;
}

constexpr char kRemedy[] = "; `tessera verify` lists all damage, `tessera shard --force` makes the store again";

}  // namespace

LoadJob::LoadJob(std::span<const ReadRequest> reads, ReadEngine* engine, Pace* pace)
    : reads_(reads), engine_(engine), pace_(pace) {
  size_t first = 0;
  for (size_t i = 1; i <= reads.size(); ++i) {
    if (i < reads.size() && adjacent(reads[i - 1], reads[i])) continue;
    cut_run(first, i);
    first = i;
  }
  cached_ = !reads.empty() && (::fcntl(reads.front().fd, F_GETFL) & O_DIRECT) == 0;
}

void LoadJob::cut_run(size_t first, size_t last) {
  const ReadRequest& head = reads_[first];
  const int64_t run_end = reads_[last - 1].offset + reads_[last - 1].length;
  size_t request = first;
  for (int64_t at = head.offset; at < run_end; at += kChunk) {
    const int64_t end = std::min(at + kChunk, run_end);
    Chunk chunk;
    chunk.op = {head.fd, at, end - at, head.to.as<std::byte>() + (at - head.offset), 0};
    chunk.request = request;
    while (request < last && reads_[request].offset + reads_[request].length <= end) ++request;
    chunk.ends = request;
    chunks_.push_back(chunk);
  }
}

void LoadJob::begin() { fill(); }

void LoadJob::fill() {
  if (stopped() || cancelled_.load(std::memory_order_relaxed)) return;
  const int64_t deepest = cached_ ? kChunk : kDeepest;
  bool any = false;
  const Duration now = pace_->limited() ? WallClock::instance().now() : Duration{};
  while (next_ < chunks_.size() && in_flight_ < kMostReads &&
         (in_flight_ == 0 || bytes_in_flight_ + chunks_[next_].op.length <= deepest)) {
    Chunk& chunk = chunks_[next_++];
    if (pace_->limited()) chunk.release = pace_->end_of(chunk.op.length, now);
    engine_->start(&chunk.op);
    ++in_flight_;
    bytes_in_flight_ += chunk.op.length;
    any = true;
  }
  if (any) engine_->flush();
}

bool LoadJob::advance(Duration deadline) {
  for (bool looked = false;; looked = true) {
    if (cancelled_.load(std::memory_order_relaxed) && !stopped()) fail({ErrorCode::kCancelled, "load cancelled"});
    fill();
    if (in_flight_ == 0 && (stopped() || arrived_ == chunks_.size())) return true;
    const Duration now = WallClock::instance().now();
    if (looked && now >= deadline) return false;
    if (in_flight_ == 0) {
      pause_for_release(now, deadline);
    } else if (ReadOp* op = await(now, deadline); op != nullptr) {
      settle(*reinterpret_cast<Chunk*>(op));
    }
    check_arrived();
  }
}

// The next read that has ended; nullptr where something else is due first.
ReadOp* LoadJob::await(Duration now, Duration deadline) {
  if (ReadOp* op = engine_->reap({0}); op != nullptr) return op;
  cached_ = false;
  Duration until = std::min(deadline, now + kLook);
  if (!stopped() && chunks_[arrived_].complete) until = std::min(until, chunks_[arrived_].release);
  return engine_->reap(until);
}

// All reads have come back; an imitated slower disk still holds some.
void LoadJob::pause_for_release(Duration now, Duration deadline) const {
  const Duration until = std::min({deadline, chunks_[arrived_].release, now + kLook});
  if (until > now) std::this_thread::sleep_for(std::chrono::nanoseconds((until - now).ns));
}

// Takes over what a read brought; reads on where it was cut short.
void LoadJob::settle(Chunk& chunk) {
  ReadOp& op = chunk.op;
  const ReadRequest& r = reads_[chunk.request];
  const bool again = (op.result == -EINTR || op.result == -EAGAIN) && chunk.retries++ < kMostRetries;
  // A direct read goes on at an aligned offset; a piece below that at the end of the file is no progress.
  const int64_t progress = op.result >= op.length ? op.length : std::max<int64_t>(op.result, 0) & -kAlignment;
  bytes_in_flight_ -= progress;
  if (progress == op.length) {
    chunk.complete = true;
    --in_flight_;
    return;
  }
  if ((again || progress > 0) && !stopped()) {
    op.offset += progress;
    op.to += progress;
    op.length -= progress;
    engine_->start(&op);
    engine_->flush();
    return;
  }
  --in_flight_;
  bytes_in_flight_ -= op.length - progress;
  if (stopped()) return;
  if (op.result < 0) {
    const auto error = static_cast<int>(-op.result);
    fail({ErrorCode::kData, place(r) + ": read failed at " + std::to_string(op.offset) + ": " +
                                std::generic_category().message(error) + kRemedy});
  } else {
    fail({ErrorCode::kData, place(r) + ": the file ends at " + std::to_string(file_size(op.fd, op.offset + op.result)) +
                                ", " + std::to_string(r.offset + r.length) + " expected" + kRemedy});
  }
}

// Moves over the chunks that have come, in order, and checks the extents that they complete.
void LoadJob::check_arrived() {
  const Duration now = pace_->limited() ? WallClock::instance().now() : Duration{};
  while (!stopped() && arrived_ < chunks_.size() && chunks_[arrived_].complete && chunks_[arrived_].release <= now) {
    for (; checked_ < chunks_[arrived_].ends && !stopped(); ++checked_) check_extent(reads_[checked_]);
    ++arrived_;
    if (pace_->limited()) pace_->delivered(WallClock::instance().now());
  }
}

void LoadJob::check_extent(const ReadRequest& r) {
  const uint64_t got = XXH3_64bits(r.to.as<std::byte>(), static_cast<size_t>(r.length));
  if (got == r.checksum) return;
  char sums[80];
  std::snprintf(sums, sizeof sums, ": damaged (XXH3 %016" PRIx64 ", expected %016" PRIx64 ")", got, r.checksum);
  fail({ErrorCode::kData, place(r) + sums + kRemedy});
}

void LoadJob::fail(Error error) { error_ = std::move(error); }

}  // namespace tessera::storage
