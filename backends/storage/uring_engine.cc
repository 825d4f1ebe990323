// Reads through io_uring: many reads in flight, one system call for all of them.
#include <cerrno>
#include <system_error>

#include <liburing.h>

#include "backends/storage/read_engine.h"
#include "framework/clock.h"

namespace tessera::storage {
namespace {

class UringEngine final : public ReadEngine {
 public:
  explicit UringEngine(const io_uring& ring) : ring_(ring) {}
  UringEngine(const UringEngine&) = delete;
  UringEngine& operator=(const UringEngine&) = delete;
  ~UringEngine() override { io_uring_queue_exit(&ring_); }

  std::string_view name() const override { return "io_uring"; }

  void start(ReadOp* op) override {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);  // never full: as many entries as reads are allowed
    io_uring_prep_read(entry, op->fd, op->to, static_cast<unsigned>(op->length), static_cast<uint64_t>(op->offset));
    io_uring_sqe_set_data(entry, op);
  }

  void flush() override {
    // EINTR, EAGAIN and EBUSY leave entries queued; the next flush or reap submits them.
    io_uring_submit(&ring_);
  }

  ReadOp* reap(Duration deadline) override {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) != 0) {
      if (io_uring_sq_ready(&ring_) > 0) io_uring_submit(&ring_);
      const Duration left = deadline - WallClock::instance().now();
      if (left.ns <= 0) {
        if (io_uring_peek_cqe(&ring_, &completion) == 0) break;
        return nullptr;
      }
      __kernel_timespec limit{left.ns / 1'000'000'000, left.ns % 1'000'000'000};
      if (io_uring_wait_cqe_timeout(&ring_, &completion, &limit) == 0) break;
    }
    auto* op = static_cast<ReadOp*>(io_uring_cqe_get_data(completion));
    op->result = completion->res;
    io_uring_cqe_seen(&ring_, completion);
    return op;
  }

 private:
  io_uring ring_;
};

Error refused(int error) {
  return {ErrorCode::kUnavailable, std::string("io_uring refused: ") + std::generic_category().message(error)};
}

}  // namespace

Result<std::unique_ptr<ReadEngine>> make_uring_engine() {
  io_uring ring;
  // No interrupt of a running thread to report a completion: it is picked up at the next system call.
  int status = io_uring_queue_init(kMostReads, &ring, IORING_SETUP_COOP_TASKRUN);
  if (status == -EINVAL) status = io_uring_queue_init(kMostReads, &ring, 0);  // before Linux 5.19
  if (status < 0) return refused(-status);
  io_uring_probe* probe = io_uring_get_probe_ring(&ring);
  const bool reads = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ);
  // Without it (before 5.11) a wait with a deadline would need an entry of its own.
  const bool timed = (ring.features & IORING_FEAT_EXT_ARG) != 0;
  io_uring_free_probe(probe);
  if (!reads || !timed) {
    io_uring_queue_exit(&ring);
    return refused(ENOSYS);
  }
  return std::unique_ptr<ReadEngine>(std::make_unique<UringEngine>(ring));
}

}  // namespace tessera::storage
