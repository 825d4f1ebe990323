// Checks what backend.h promises, whatever the device computes.
#include "tests/conformance/contract_checks.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <set>

#include "framework/cost_model.h"
#include "tests/conformance/work.h"

namespace tessera::conformance {
namespace {

ModelShape some_shape() {
  ModelShape shape;
  shape.layers = 2, shape.slices = shape.heads = 4, shape.hidden = 64, shape.ffn = 128, shape.labels = 2;
  shape.vocab = 50, shape.max_tokens = 512;
  return shape;
}

CostKey key_of(Op op, int tokens, int slices, Bits bits, bool decoded) {
  CostKey key;
  key.op = op;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(op == Op::kCombine ? 0 : slices);
  key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  key.reads = 1;
  key.bytes = 4096;
  return key;
}

// Every op at every bitwidth and a few sizes.
template <typename Visit>
void for_all_keys(Visit visit) {
  for (int op = 0; op < kOpCount; ++op)
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, static_cast<int>(kExact)})
      for (const int slices : {1, 4})
        for (const bool decoded : {false, true}) visit(static_cast<Op>(op), static_cast<Bits>(bits), slices, decoded);
}

std::string text_of(const CostKey& key) {
  return "op " + std::to_string(static_cast<int>(key.op)) + ", " + std::to_string(key.tokens) + " tokens, " +
         std::to_string(key.slices) + " slices";
}

}  // namespace

Finding describes_itself(const Subject& s) {
  Finding f;
  std::set<std::string> names;
  for (const DeviceDescription& device : s.backend->describe()) {
    f.expect(!device.name.empty(), "a device has no name");
    f.expect(names.insert(device.name).second, "two devices are called " + device.name);
    f.expect(device.backend == s.backend_name, device.name + " names backend '" + device.backend + "', not its own");
    f.expect(device.available || !device.why.empty(), device.name + " is not available and does not say why");
    f.expect(device.threads >= 1, device.name + " has " + std::to_string(device.threads) + " threads");
    f.expect(device.memory_capacity.n > 0, device.name + " has no memory");
  }
  f.expect(s.backend->describe().size() == names.size(), "describe() changes its mind");
  return f;
}

Finding says_why_not(const Subject& s) {
  Finding f;
  const ModelShape shape = some_shape();
  bool any = false;
  for_all_keys([&](Op op, Bits bits, int slices, bool decoded) {
    const CostKey key = key_of(op, 32, slices, bits, decoded);
    const Support support = s.backend->supports(s.device, key, shape);
    f.expect(support.yes || !support.why.empty(), text_of(key) + ": refused without a reason");
    any = any || support.yes;
  });
  f.expect(any, "supports nothing at all");
  return f;
}

Finding estimates_sanely(const Subject& s) {
  Finding f;
  const ModelShape shape = some_shape();
  for_all_keys([&](Op op, Bits bits, int slices, bool decoded) {
    Bytes before;
    for (const int tokens : {1, 7, 8, 9, 64, 128, 512}) {
      const CostKey key = key_of(op, tokens, slices, bits, decoded);
      if (!s.backend->supports(s.device, key, shape).yes) return;
      const Estimate e = s.backend->estimate(s.device, key, shape);
      f.expect(e.mean >= Duration{} && e.mean < kForever, text_of(key) + ": mean " + to_string(e.mean));
      f.expect(e.p95 >= e.mean && e.p95 < kForever, text_of(key) + ": p95 below the mean, or endless");
      f.expect(std::isfinite(e.variance_ns2) && e.variance_ns2 >= 0, text_of(key) + ": variance");
      f.expect(std::isfinite(e.energy.value) && e.energy.value >= 0, text_of(key) + ": energy");
      f.expect(e.samples >= 0, text_of(key) + ": negative samples");
      f.expect(e.workspace >= before, text_of(key) + ": workspace " + to_string(e.workspace) + " falls from " +
                                          to_string(before) + " as tokens grow");
      before = e.workspace;
    }
  });
  return f;
}

Finding allocates_aligned(const Subject& s) {
  Finding f;
  for (const int64_t bytes : {int64_t{1}, int64_t{4095}, int64_t{4096}, int64_t{4097}, int64_t{1} << 20}) {
    Result<Buffer> buffer = s.backend->allocate(s.device, Bytes{bytes});
    f.expect(buffer.ok(), "cannot allocate " + std::to_string(bytes) + " bytes");
    if (!buffer.ok()) continue;
    f.expect(buffer->bytes.n >= bytes,
             "gave " + std::to_string(buffer->bytes.n) + " of " + std::to_string(bytes) + " bytes");
    f.expect(buffer->host != nullptr || buffer->native != nullptr, "a buffer without memory");
    f.expect(reinterpret_cast<uintptr_t>(buffer->host) % 4096 == 0, "not aligned to 4096");
    s.backend->release(*buffer);
  }
  return f;
}

Finding refuses_absurd_sizes(const Subject& s) {
  Finding f;
  for (const int64_t bytes : {INT64_MAX, INT64_MAX - 4096, INT64_MAX / 2}) {
    Result<Buffer> buffer = s.backend->allocate(s.device, Bytes{bytes});
    f.expect(!buffer.ok() && !buffer.error().message.empty(), "allocated " + to_string(Bytes{bytes}));
    if (buffer.ok()) s.backend->release(*buffer);
  }
  Buffer never_allocated;
  s.backend->release(never_allocated);  // harmless
  return f;
}

Finding transfers_round_trip(const Subject& s) {
  Finding f;
  for (const int64_t bytes : {int64_t{1}, int64_t{63}, int64_t{4096}, int64_t{100'001}}) {
    DeviceMemory memory(s);
    std::vector<uint8_t> sent(static_cast<size_t>(bytes));
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<uint8_t>(i * 7 + 3);
    const MemoryRef there = memory.put(sent);
    const auto back = memory.get<uint8_t>(there, sent.size());
    const auto tail = memory.get<uint8_t>(there.plus(bytes - 1), 1);
    f.expect(memory.status(), std::to_string(bytes) + " bytes");
    f.expect(!memory.status().ok() || (back == sent && tail[0] == sent.back()),
             std::to_string(bytes) + " bytes came back changed");
  }
  return f;
}

Finding wait_keeps_its_deadline(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  const Result<Ticket> ticket = s.backend->submit(s.device, work->task, work->operands);
  f.expect(ticket.ok(), ticket.ok() ? "" : "submit: " + ticket.error().message);
  if (!ticket.ok() || *ticket == kDone) return f;
  const Status early = s.backend->wait(s.device, *ticket, s.clock->now() - milliseconds(1));
  f.expect(early.ok() || early.error().code == ErrorCode::kDeadline,
           early.ok() ? "" : "a deadline in the past gave: " + early.error().message);
  if (early.ok()) return f;
  f.expect(s.backend->wait(s.device, *ticket, s.soon()), "the same ticket, later");
  return f;
}

Finding cancel_returns(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  s.backend->cancel(s.device, kDone);  // harmless
  const Result<Ticket> ticket = s.backend->submit(s.device, work->task, work->operands);
  f.expect(ticket.ok(), ticket.ok() ? "" : "submit: " + ticket.error().message);
  if (!ticket.ok()) return f;
  if (*ticket != kDone) {
    s.backend->cancel(s.device, *ticket);
    const Status ended = s.backend->wait(s.device, *ticket, s.soon());
    f.expect(ended.ok() || ended.error().code != ErrorCode::kDeadline, "a cancelled task does not end");
  }
  f.expect(perform(s, work->task, work->operands), "the device does not work after a cancel");
  return f;
}

Finding runs_task_after_task(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  for (int i = 0; work->ready.ok() && i < 20; ++i)
    f.expect(perform(s, work->task, work->operands), "task " + std::to_string(i));
  return f;
}

}  // namespace tessera::conformance
