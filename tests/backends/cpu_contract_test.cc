// Checks what the CPU backend says of itself, what it refuses, and that waits and cancels end.
#include <gmock/gmock.h>

#include "hwy/highway.h"
#include "hwy/targets.h"
#include "tests/backends/cpu_rig.h"

namespace tessera {
namespace {

using namespace tessera::testing;  // NOLINT: the rig is part of this test
using ::testing::HasSubstr;

// A layer task with everything that it needs.
struct LayerTask {
  RandomLayer layer;
  std::vector<int32_t> starts;
  Weights weights;
  LayerResidents residents;
  Block x, y;
  Task task;
  Operands operands;
  std::unique_ptr<Block> workspace;

  LayerTask(const Backend& cpu, int tokens, int slices = 2, Bits bits = 3)
      : layer(slices, 32, 128, ElementType::kF16),
        starts{0, tokens},
        weights(weights_of(layer, all_slices(layer), bits, WeightForm::kCoded)),
        residents(layer.residents()),
        x(layer.input(tokens)),
        y(x.bytes()) {
    task.cost.op = Op::kLayer;
    task.cost.tokens = static_cast<uint16_t>(tokens);
    task.cost.slices = static_cast<uint8_t>(slices);
    workspace = std::make_unique<Block>(cpu.estimate(0, task.cost, layer.shape).workspace.n);
    operands.shape = &layer.shape;
    operands.batch.starts = starts;
    operands.input = x.ref();
    operands.output = y.ref();
    operands.weights = weights.refs;
    operands.residents = &residents;
    operands.workspace = workspace->ref();
    operands.workspace_bytes = workspace->bytes();
  }
  LayerTask(const LayerTask&) = delete;
};

std::string refusal(Backend& cpu, const LayerTask& t) {
  const auto ticket = cpu.submit(0, t.task, t.operands);
  if (!ticket.ok()) return ticket.error().message;
  EXPECT_TRUE(cpu.wait(0, *ticket, kForever).ok());
  return "";
}

TEST(CpuContract, DescribesOneDeviceInHostMemory) {
  const auto devices = make_cpu(2)->describe();
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].name, "cpu0");
  EXPECT_EQ(devices[0].backend, "cpu");
  EXPECT_EQ(devices[0].threads, 2);
  EXPECT_TRUE(devices[0].available && devices[0].shared_with_host && devices[0].memory == 0);
  EXPECT_THAT(devices[0].properties, ::testing::Contains(::testing::Key("instruction set")));
}

TEST(CpuContract, SaysWhatItCannotDoByNameAndNumber) {
  const auto cpu = make_cpu(1);
  ModelShape shape = RandomLayer(2, 32, 128, ElementType::kF16).shape;
  CostKey key;
  key.op = Op::kLayer;
  key.slices = 2;
  EXPECT_TRUE(cpu->supports(0, key, shape).yes);
  key.slices = 3;
  EXPECT_THAT(cpu->supports(0, key, shape).why, HasSubstr("3 slices of a model that has 2"));
  EXPECT_THAT(cpu->supports(1, key, shape).why, HasSubstr("device 1"));
  key.op = Op::kLoadShards;
  EXPECT_THAT(cpu->supports(0, key, shape).why, HasSubstr("storage"));
  key.op = Op::kExit;
  shape.heads = 5;
  EXPECT_THAT(cpu->supports(0, key, shape).why, HasSubstr("hidden 64 in 5 heads"));
}

TEST(CpuContract, EstimatesGrowWithTokensSlicesAndUndecodedWeights) {
  const auto cpu = make_cpu(2);
  const ModelShape shape = RandomLayer(4, 32, 128, ElementType::kF16).shape;
  CostKey small;
  small.op = Op::kLayer;
  small.tokens = 16;
  small.slices = 2;
  CostKey longer = small, wider = small, coded = small;
  longer.tokens = 64;
  wider.slices = 4;
  small.decoded = longer.decoded = wider.decoded = true;
  coded.bits[bits_level(2)] = 2;
  const Estimate base = cpu->estimate(0, small, shape);
  EXPECT_EQ(base.provenance, Provenance::kAnalytic);
  EXPECT_GT(base.workspace.n, 0);
  EXPECT_GE(base.p95, base.mean);
  EXPECT_GT(cpu->estimate(0, longer, shape).mean, base.mean);
  EXPECT_GT(cpu->estimate(0, longer, shape).workspace, base.workspace);
  EXPECT_GT(cpu->estimate(0, wider, shape).mean, base.mean);
}

TEST(CpuContract, NeedsTheWorkspaceThatItEstimatesAndNotAByteMore) {
  const auto cpu = make_cpu(2);
  LayerTask t(*cpu, 20);
  EXPECT_EQ(refusal(*cpu, t), "");
  --t.operands.workspace_bytes;
  EXPECT_THAT(refusal(*cpu, t), HasSubstr("workspace"));
}

TEST(CpuContract, RefusesOperandsThatDoNotFit) {
  const auto cpu = make_cpu(2);
  LayerTask t(*cpu, 20);
  const Operands good = t.operands;
  const std::vector<int32_t> hole = {0, 10, 10, 20};
  t.operands.batch.starts = hole;
  EXPECT_THAT(refusal(*cpu, t), HasSubstr("sequence 1 has no tokens"));
  t.operands = good;
  t.operands.input = t.x.ref().plus(4);
  EXPECT_THAT(refusal(*cpu, t), HasSubstr("input does not hold"));
  t.operands = good;
  t.operands.residents = nullptr;
  EXPECT_THAT(refusal(*cpu, t), HasSubstr("residents missing"));
  t.operands = good;
  t.operands.weights = {};
  EXPECT_THAT(refusal(*cpu, t), HasSubstr("at least one slice"));
  t.weights.refs[1].slice = 0;
  t.operands = good;
  EXPECT_THAT(refusal(*cpu, t), HasSubstr("ascending"));
}

TEST(CpuContract, FailsOnAShardThatEndsEarlyAndNamesIt) {
  const auto cpu = make_cpu(2);
  for (const Bits bits : {Bits{3}, kExact}) {
    LayerTask t(*cpu, 20, 2, bits);
    t.weights.refs[1].bytes -= 640;
    const auto ticket = cpu->submit(0, t.task, t.operands);
    ASSERT_TRUE(ticket.ok());
    const Status status = cpu->wait(0, *ticket, kForever);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kData);
    EXPECT_THAT(status.error().message, HasSubstr("slice 1@"));
  }
}

TEST(CpuContract, WaitReturnsByItsDeadlineAndMayBeRepeated) {
  const auto cpu = make_cpu(2);
  LayerTask t(*cpu, 512, 12);
  const auto ticket = cpu->submit(0, t.task, t.operands);
  ASSERT_TRUE(ticket.ok());
  const Status late = cpu->wait(0, *ticket, Duration{0});
  if (!late.ok()) { EXPECT_EQ(late.error().code, ErrorCode::kDeadline); }
  const Status soon = cpu->wait(0, *ticket, WallClock::instance().now() + microseconds(300));
  if (!soon.ok()) { EXPECT_EQ(soon.error().code, ErrorCode::kDeadline); }
  EXPECT_TRUE(cpu->wait(0, *ticket, kForever).ok());
  EXPECT_TRUE(cpu->wait(0, *ticket, Duration{0}).ok());
  EXPECT_TRUE(cpu->wait(0, kDone, Duration{0}).ok());
  EXPECT_FALSE(cpu->wait(0, *ticket + 1, kForever).ok());
}

TEST(CpuContract, CancelEndsATaskThatHasNotStarted) {
  for (const int threads : {1, 2, 4}) {
    const auto cpu = make_cpu(threads);
    LayerTask t(*cpu, 256, 8);
    std::vector<Ticket> tickets;
    for (int i = 0; i < 8; ++i) tickets.push_back(*cpu->submit(0, t.task, t.operands));
    cpu->cancel(0, tickets.back());
    for (size_t i = 0; i + 1 < tickets.size(); ++i) EXPECT_TRUE(cpu->wait(0, tickets[i], kForever).ok());
    const Status last = cpu->wait(0, tickets.back(), kForever);
    ASSERT_FALSE(last.ok());
    EXPECT_EQ(last.error().code, ErrorCode::kCancelled);
    EXPECT_EQ(refusal(*cpu, t), "");  // and the device goes on
  }
}

TEST(CpuContract, RefusesMoreTicketsThanItKeeps) {
  const auto cpu = make_cpu(1);
  LayerTask t(*cpu, 256, 8);
  std::vector<Ticket> tickets;
  std::string why;
  while (why.empty() && tickets.size() < 1000) {
    const auto ticket = cpu->submit(0, t.task, t.operands);
    if (ticket.ok()) {
      tickets.push_back(*ticket);
    } else {
      why = ticket.error().message;
    }
  }
  for (const Ticket ticket : tickets) cpu->cancel(0, ticket);
  EXPECT_THAT(why, HasSubstr("under way"));
  static_cast<void>(cpu->wait(0, tickets.back(), kForever));
}

TEST(CpuContract, AllocatesAlignedMemoryAndRefusesWhatTheMachineLacks) {
  const auto cpu = make_cpu(1);
  auto buffer = cpu->allocate(0, Bytes{100});
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->host) % 4096, 0u);
  EXPECT_FALSE(cpu->transfer(0, {&*buffer, 50}, {&*buffer, 0}, Bytes{51}).ok());
  EXPECT_TRUE(cpu->transfer(0, {&*buffer, 50}, {&*buffer, 0}, Bytes{50}).ok());
  cpu->release(*buffer);
  EXPECT_EQ(buffer->host, nullptr);
  EXPECT_EQ(cpu->allocate(0, Bytes{int64_t{1} << 60}).error().code, ErrorCode::kInfeasible);
  EXPECT_FALSE(cpu->allocate(0, Bytes{0}).ok());
}

// Every instruction set that this machine has gives the reference's layer, and coded weights the bits of decoded ones.
TEST(CpuInstructionSets, AllAgreeWithTheReference) {
  const RandomLayer layer(3, 24, 50, ElementType::kF16);
  const std::vector<int32_t> starts = {0, 7, 40};
  const auto x = layer.input(40);
  std::vector<int64_t> targets;
  for (int64_t all = hwy::SupportedTargets(); all != 0; all &= all - 1) targets.push_back(all & -all);
  for (const int64_t target : targets) {
    if (target & (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_AVX3_DL)) continue;  // not compiled
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    const auto cpu = make_cpu(2);
    SCOPED_TRACE(hwy::TargetName(target));
    // Where neither vectors nor a copy without them is left, Highway 1.0.3 takes EMU128, 1.0.7 the compiler's baseline.
    const bool fallback = (target & (HWY_EMU128 | HWY_SCALAR)) != 0;
    const auto runs_on = [](int64_t set) {
      return ::testing::Contains(std::pair<std::string, std::string>("instruction set", hwy::TargetName(set)));
    };
    const auto properties = cpu->describe()[0].properties;
    EXPECT_THAT(properties,
                ::testing::AnyOf(runs_on(fallback ? HWY_EMU128 : target), runs_on(fallback ? HWY_STATIC_TARGET : target)));
    for (const Bits bits : {Bits{1}, Bits{2}, Bits{3}, Bits{4}, Bits{5}, Bits{6}, Bits{7}, Bits{8}, kExact}) {
      const Weights coded = weights_of(layer, {0, 1, 2}, bits, WeightForm::kCoded);
      const Weights decoded = weights_of(layer, {0, 1, 2}, bits, WeightForm::kDecoded);
      const auto got = run_layer<float>(*cpu, Op::kLayer, layer, coded, x, starts);
      EXPECT_EQ(got, run_layer<float>(*cpu, Op::kLayer, layer, decoded, x, starts)) << int{bits} << " bits";
      std::vector<float> want(x.size());
      const auto parts = coded.parts();
      for (size_t s = 0; s + 1 < starts.size(); ++s) {
        const size_t from = static_cast<size_t>(starts[s]) * layer.shape.hidden;
        const size_t count = static_cast<size_t>(starts[s + 1]) * layer.shape.hidden - from;
        reference::layer(layer.shape, std::span(x).subspan(from, count), starts[s + 1] - starts[s], parts, layer.biases,
                         std::span(want).subspan(from, count));
      }
      EXPECT_TRUE(close(got, want, 1e-5)) << int{bits} << " bits";
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace
}  // namespace tessera
