// A slow processor: device slow0 computes with plain loops, on one thread. An example of a backend outside of the tree; it
// started as a copy of backends/null.
//
//   submit ──► check operands ──► lane: one thread, in order ──► wait
#include <cstdlib>
#include <cstring>

#include "framework/cost_model_work.h"
#include "framework/registry.h"
#include "lane.h"
#include "operators.h"

namespace slow {
namespace {

using namespace tessera;

constexpr int64_t kAlignment = 4096;     // backend.h
constexpr double kFlopsPerSecond = 5e8;  // guessed: scalar multiply-adds in double, one at a time
constexpr const char* kName = "slow0";

Error refuse(ErrorCode code, const std::string& what) { return {code, std::string(kName) + ": " + what}; }

class SlowBackend final : public Backend {
 public:
  explicit SlowBackend(const BackendOptions&) {}

  std::vector<DeviceDescription> describe() const override {
    DeviceDescription d;
    d.name = kName;
    d.kind = DeviceKind::kCpu;
    d.backend = TESSERA_PLUGIN_NAME;
    d.properties = {{"arithmetic", "plain loops, sums in double"}};
    return {d};
  }

  Support supports(int device, const CostKey& key, const ModelShape& shape) const override {
    if (device != 0) return {false, refuse(ErrorCode::kInvalid, "there is no device " + std::to_string(device)).message};
    if (key.op != Op::kTransfer && !computes_op(key.op))
      return {false, refuse(ErrorCode::kInvalid, "runs no loads").message};
    if (key.slices > shape.slices)
      return {
          false,
          refuse(ErrorCode::kInvalid, std::to_string(key.slices) + " slices of " + std::to_string(shape.slices)).message};
    return {};
  }

  // Its scratch lies on the heap and is not accounted: what a real device must not do.
  Estimate estimate(int, const CostKey& key, const ModelShape& shape) const override {
    Estimate e;
    const double work = key.op == Op::kTransfer ? static_cast<double>(key.bytes) : 2 * multiply_adds(shape, key);
    e.mean = e.p95 = from_seconds(1e-5 + work / kFlopsPerSecond);
    e.provenance = Provenance::kGuessed;
    return e;
  }

  Result<Buffer> allocate(int, Bytes bytes) override {
    const auto cannot = [&](ErrorCode code, const char* why) {
      return refuse(code, "cannot allocate " + to_string(bytes) + ": " + why);
    };
    if (bytes.n <= 0) return cannot(ErrorCode::kInvalid, "ask for at least one byte");
    if (bytes.n > INT64_MAX - kAlignment) return cannot(ErrorCode::kDevice, "no host memory");
    void* const memory = std::aligned_alloc(kAlignment, static_cast<size_t>(align_up(bytes, kAlignment).n));
    if (memory == nullptr) return cannot(ErrorCode::kDevice, "no host memory");
    Buffer buffer;
    buffer.host = static_cast<std::byte*>(memory);
    buffer.bytes = bytes;
    return buffer;
  }

  void release(Buffer& buffer) override {
    std::free(buffer.host);
    buffer = Buffer{};
  }

  // `task` and `operands` stay valid until wait says done: the lane may point to them.
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override {
    if (device != 0) return refuse(ErrorCode::kInvalid, "there is no device " + std::to_string(device));
    if (task.cost.op == Op::kTransfer) {
      TESSERA_TRY(check_moves(operands));
      return lane_.start([&operands](const std::atomic<bool>&) {
        for (const Move& move : operands.moves) copy(move.to, move.from, move.bytes);
        return Status();
      });
    }
    if (!computes_op(task.cost.op)) return refuse(ErrorCode::kInvalid, "runs no loads");
    TESSERA_TRY(check(task, operands));
    return lane_.start(
        [&task, &operands](const std::atomic<bool>& cancelled) { return compute(task, operands, cancelled); });
  }

  Status wait(int device, Ticket ticket, Duration deadline) override {
    if (device != 0) return refuse(ErrorCode::kInvalid, "there is no device " + std::to_string(device));
    return lane_.wait(ticket, deadline);
  }

  Status transfer(int, MemoryRef to, MemoryRef from, Bytes bytes) override {
    const Move moves[] = {{to, from, bytes}};
    Operands operands;
    operands.moves = moves;
    TESSERA_TRY(check_moves(operands));
    copy(to, from, bytes);
    return {};
  }

  void cancel(int, Ticket ticket) override { lane_.cancel(ticket); }

 private:
  static Status check_moves(const Operands& operands) {
    for (const Move& move : operands.moves)
      if (!holds(move.to, move.bytes.n) || !holds(move.from, move.bytes.n))
        return refuse(ErrorCode::kInvalid,
                      "transfer of " + to_string(move.bytes) + " leaves its buffer; check offset and size");
    return {};
  }
  static void copy(MemoryRef to, MemoryRef from, Bytes bytes) {
    std::memmove(to.as<std::byte>(), from.as<std::byte>(), static_cast<size_t>(bytes.n));
  }

  Lane lane_;
};

}  // namespace
}  // namespace slow

TESSERA_REGISTER_BACKEND(slow::SlowBackend)
