// Tests that the checks find what they look for: a good backend with one fault at a time must not pass.
#include <cstring>
#include <memory>
#include <ostream>

#include <gtest/gtest.h>

#include "tests/conformance/contract_checks.h"

namespace tessera::conformance {
namespace {

enum class Fault {
  kNone,
  kWrongResult,
  kUnsteadyResult,
  kWrongPart,
  kWritesBehindOutput,
  kWritesBehindWorkspace,
  kKeepsFirstResidents,
  kTakesAnything,
  kNamelessErrors,
  kWrongEndAfterCancel,
  kNegativeMean,
  kEstimateFalls,
  kWorkspaceFalls,
  kLeaks,
  kGivesWhatItHasNot,
  kMovesNothing,
  kRefusesWithoutReason,
};

// The CPU backend with a fault.
class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> good, Fault fault) : good_(std::move(good)), fault_(fault) {}

  std::vector<DeviceDescription> describe() const override { return good_->describe(); }
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override {
    Support support = good_->supports(device, key, shape);
    if (fault_ == Fault::kRefusesWithoutReason) support.why.clear();
    return support;
  }
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override {
    Estimate e = good_->estimate(device, key, shape);
    if (fault_ == Fault::kNegativeMean) e.mean = {-1};
    if (fault_ == Fault::kEstimateFalls) e.mean = e.p95 = {1'000'000 - key.tokens};
    if (fault_ == Fault::kWorkspaceFalls) e.workspace = {1'000'000 - key.tokens};
    return e;
  }
  Result<Buffer> allocate(int device, Bytes bytes) override {
    allocated_ += bytes.n;
    if (fault_ == Fault::kLeaks && allocated_ > (int64_t{64} << 20))
      return Error{ErrorCode::kDevice, "cpu: 0 B of 64 MiB free"};
    const bool too_much = bytes > good_->describe()[0].memory_capacity;
    return good_->allocate(device, fault_ == Fault::kGivesWhatItHasNot && too_much ? kib(4) : bytes);
  }
  void release(Buffer& buffer) override { good_->release(buffer); }
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override {
    if (fault_ == Fault::kMovesNothing && task.cost.op == Op::kTransfer) return kDone;
    Running& running = *running_.emplace_back(std::make_unique<Running>(task, operands));
    if (fault_ == Fault::kKeepsFirstResidents && operands.residents != nullptr) keep_first(running.operands);
    Result<Ticket> ticket = good_->submit(device, running.task, running.operands);
    if (ticket.ok()) running.ticket = *ticket;
    if (!ticket.ok() && fault_ == Fault::kTakesAnything) return kDone;
    if (!ticket.ok() && fault_ == Fault::kNamelessErrors) return Error{ErrorCode::kInvalid, "failed"};
    return ticket;
  }
  Status wait(int device, Ticket ticket, Duration deadline) override {
    Status status = good_->wait(device, ticket, deadline);
    if (status.ok())
      for (const auto& running : running_)
        if (running->ticket == ticket) damage(*running);
    return status;
  }
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override {
    return good_->transfer(device, to, from, bytes);
  }
  void cancel(int device, Ticket ticket) override {
    if (fault_ != Fault::kWrongEndAfterCancel) good_->cancel(device, ticket);
    for (const auto& running : running_)
      if (running->ticket == ticket && ticket != kDone) running->cancelled = true;
  }

 private:
  struct Running {
    Running(const Task& t, const Operands& o) : task(t), operands(o) {}
    Task task;
    Operands operands;
    Ticket ticket = kDone;
    bool cancelled = false;
  };

  void damage(const Running& running) {
    const Operands& o = running.operands;
    const Op op = running.task.cost.op;
    if (!o.output || o.shape == nullptr) return;
    float& first = *o.output.as<float>();
    if (op == Op::kLayer && fault_ == Fault::kWrongResult) first += 0.5f;
    uint32_t bits = 0;
    std::memcpy(&bits, &first, 4);
    if (op == Op::kLayer && fault_ == Fault::kUnsteadyResult) bits ^= ++results_ % 2;
    std::memcpy(&first, &bits, 4);
    if (op == Op::kAttentionPart && fault_ == Fault::kWrongPart) *o.output.as<double>() += 1.0 / 16;
    const int64_t values = int64_t{1} * o.batch.tokens() * o.shape->hidden;
    if (op == Op::kLayer && fault_ == Fault::kWritesBehindOutput) o.output.as<std::byte>()[4 * values] = std::byte{1};
    if (op == Op::kLayer && fault_ == Fault::kWritesBehindWorkspace)
      o.workspace.as<std::byte>()[o.workspace_bytes] = std::byte{1};
    if (running.cancelled && fault_ == Fault::kWrongEndAfterCancel) first += 0.5f;
  }

  // As a device that keeps one copy for ever would.
  void keep_first(Operands& o) {
    if (kept_.empty()) {
      const int d = o.shape->hidden, f = o.shape->ffn;
      const LayerResidents& r = *o.residents;
      for (const auto& [from, count] : {std::pair{r.query_bias, d},
                                        {r.key_bias, d},
                                        {r.value_bias, d},
                                        {r.attention_bias, d},
                                        {r.attention_norm_weight, d},
                                        {r.attention_norm_bias, d},
                                        {r.ffn_up_bias, f},
                                        {r.ffn_down_bias, d},
                                        {r.ffn_norm_weight, d},
                                        {r.ffn_norm_bias, d}})
        kept_.emplace_back(from, from + count);
      first_ = {0,
                kept_[0].data(),
                kept_[1].data(),
                kept_[2].data(),
                kept_[3].data(),
                kept_[4].data(),
                kept_[5].data(),
                kept_[6].data(),
                kept_[7].data(),
                kept_[8].data(),
                kept_[9].data()};
    }
    o.residents = &first_;
  }

  const std::unique_ptr<Backend> good_;
  const Fault fault_;
  int64_t allocated_ = 0;
  int results_ = 0;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<std::vector<float>> kept_;
  LayerResidents first_;
};

struct FaultCase {
  const char* what;
  Fault fault;
  Finding (*check)(const Subject&);
};

void PrintTo(const FaultCase& at, std::ostream* out) { *out << at.what; }

Subject faulty(Fault fault) {
  static const Declaration declaration{.backend = "cpu", .tolerance = 2e-5, .unsupported = {}, .expected_failures = {}};
  (void)built_in_backends();
  const BackendFactory good = backends().find("cpu")->make;
  Subject s;
  s.backend = std::make_shared<FaultyBackend>(good({.threads = 2, .bandwidth_cap = {}}), fault);
  s.description = s.backend->describe()[0];
  s.declaration = &declaration;
  s.backend_name = "cpu";
  s.clock = &WallClock::instance();
  // With three threads, and only then, results are off.
  s.make = [good, fault](const BackendOptions& options) {
    return std::make_unique<FaultyBackend>(good(options), options.threads == 3 ? Fault::kWrongResult : fault);
  };
  return s;
}

class Faults : public ::testing::TestWithParam<FaultCase> {};

TEST_P(Faults, AreFound) {
  const FaultCase& at = GetParam();
  EXPECT_FALSE(at.check(faulty(at.fault)).failures.empty());
}

// That the same backend without a fault passes is conformance.cpu.
INSTANTIATE_TEST_SUITE_P(
    , Faults,
    ::testing::Values(FaultCase{"a wrong layer", Fault::kWrongResult, runs_fused_layers},
                      FaultCase{"a wrong layer, at the edges", Fault::kWrongResult, keeps_edges},
                      FaultCase{"a wrong layer of mixed bitwidths", Fault::kWrongResult, mixes_bitwidths},
                      FaultCase{"a wrong layer in place", Fault::kWrongResult, works_in_place},
                      FaultCase{"a wrong part", Fault::kWrongPart, attends},
                      FaultCase{"parts that differ from the layer", Fault::kWrongPart, split_equals_fused},
                      FaultCase{"parts that differ backwards", Fault::kWrongPart, order_does_not_matter},
                      FaultCase{"a bit that changes from run to run", Fault::kUnsteadyResult, runs_are_repeatable},
                      FaultCase{"a bit that changes with the place", Fault::kUnsteadyResult, places_do_not_matter},
                      FaultCase{"a bit that changes with the batch", Fault::kUnsteadyResult, batch_equals_singles},
                      FaultCase{"three threads compute otherwise", Fault::kNone, threads_do_not_matter},
                      FaultCase{"a byte behind the output", Fault::kWritesBehindOutput, stays_inside},
                      FaultCase{"a byte behind the workspace", Fault::kWritesBehindWorkspace, stays_inside},
                      FaultCase{"residents of another layer", Fault::kKeepsFirstResidents, keeps_residents_by_id},
                      FaultCase{"bad operands are taken", Fault::kTakesAnything, refuses_bad_operands},
                      FaultCase{"errors name no device", Fault::kNamelessErrors, refuses_bad_operands},
                      FaultCase{"a cancelled task is wrong", Fault::kWrongEndAfterCancel, cancel_returns},
                      FaultCase{"negative times", Fault::kNegativeMean, estimates_sanely},
                      FaultCase{"times that fall", Fault::kEstimateFalls, estimates_sanely},
                      FaultCase{"workspace that falls", Fault::kWorkspaceFalls, estimates_sanely},
                      FaultCase{"memory that does not come back", Fault::kLeaks, gives_back_memory},
                      FaultCase{"memory that is not there", Fault::kGivesWhatItHasNot, keeps_its_capacity},
                      FaultCase{"transfers that move nothing", Fault::kMovesNothing, transfer_tasks_round_trip},
                      FaultCase{"a no without a reason", Fault::kRefusesWithoutReason, says_why_not}));

}  // namespace
}  // namespace tessera::conformance
