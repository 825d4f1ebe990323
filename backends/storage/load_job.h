// Executes one load: joins adjacent extents, cuts them into chunks, keeps several in flight, checks what came.
//
//   requests   [ extent 0 ][ extent 1 ][ extent 2 ]     [ extent 3 ]      file and memory adjacent: one run
//   chunks     [   256 KiB   ][   256 KiB   ][  ..]     [    ..    ]      read in any order
//   checked    extent 0 as soon as the chunks up to its end have come, while later chunks are still being read
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "backends/storage/pace.h"
#include "backends/storage/read_engine.h"
#include "framework/operands.h"

namespace tessera::storage {

// Used by one thread at a time, except request_cancel.
class LoadJob {
 public:
  // `reads` were validated, and outlive the job.
  LoadJob(std::span<const ReadRequest> reads, ReadEngine* engine, Pace* pace);

  // Hands the first chunks to the engine and returns.
  void begin();
  // Works on it until it has ended (true) or `deadline` has come (false). After an error or a cancellation nothing new is
  // started, and it ends when what was in flight has come back.
  bool advance(Duration deadline);
  Status status() const { return error_; }
  void request_cancel() { cancelled_.store(true, std::memory_order_relaxed); }

 private:
  struct Chunk {
    ReadOp op;           // what is left to read; first, so that an op leads to its chunk
    size_t request = 0;  // the first extent that it belongs to
    size_t ends = 0;     // extents before this one are whole once this chunk and those before it have come
    Duration release;    // not before: of an imitated slower disk; never falls from chunk to chunk
    int retries = 0;     // after EINTR and EAGAIN
    bool complete = false;
  };
  void cut_run(size_t first, size_t last);
  void fill();
  void settle(Chunk& chunk);
  void check_arrived();
  void check_extent(const ReadRequest& request);
  ReadOp* await(Duration now, Duration deadline);
  void pause_for_release(Duration now, Duration deadline) const;
  void fail(Error error);
  bool stopped() const { return !error_.ok(); }

  std::span<const ReadRequest> reads_;
  ReadEngine* const engine_;
  Pace* const pace_;
  std::vector<Chunk> chunks_;  // run by run, in file order; not moved once made
  size_t next_ = 0;            // first chunk that was not started
  size_t arrived_ = 0;         // chunks before this one are complete
  size_t checked_ = 0;         // extents before this one are checked
  int in_flight_ = 0;
  int64_t bytes_in_flight_ = 0;
  bool cached_ = false;  // the page cache answers at once: go chunk by chunk, and check each while it is in the CPU's cache
  std::atomic<bool> cancelled_{false};
  Status error_;
};

}  // namespace tessera::storage
