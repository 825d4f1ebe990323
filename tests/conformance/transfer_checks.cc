// Checks Transfer tasks: both ways, many moves of odd sizes, in order, on the device itself and on its link beside it.
#include <memory>
#include <thread>

#include "tests/conformance/contract_checks.h"
#include "tests/conformance/work.h"

namespace tessera::conformance {
namespace {

std::vector<uint8_t> pattern(size_t bytes, size_t seed) {
  std::vector<uint8_t> values(bytes);
  for (size_t i = 0; i < bytes; ++i) values[i] = static_cast<uint8_t>(i * 7 + i / 251 + seed * 31);
  return values;
}

struct Transfer {
  Task task;
  std::vector<Move> moves;
  Operands operands() const {
    Operands o;
    o.moves = moves;
    return o;
  }
  void add(MemoryRef to, MemoryRef from, int64_t bytes) {
    moves.push_back({to, from, Bytes{bytes}});
    task.cost.bytes += bytes;
  }
  explicit Transfer(bool to_host) {
    task.kind = TaskKind::kTransfer;
    task.payload = Payload::kHidden;
    task.cost.op = Op::kTransfer;
    task.cost.to_host = to_host;
  }
};

// Several host arrays to places of one device buffer, and back.
struct RoundTrip {
  RoundTrip(const Subject& s, size_t seed) : memory(s), there(false), back(true) {
    const std::vector<int64_t> sizes = {1, 63, 64, 65, 4095, 4096, 4097, 100'001};
    int64_t whole = 0;
    for (const int64_t size : sizes) whole += (size + 63) / 64 * 64 + 64;
    device = memory.empty(whole);
    int64_t at = 64;
    for (const int64_t size : sizes) {
      sent.push_back(pattern(static_cast<size_t>(size), seed + sent.size()));
      got.emplace_back(static_cast<size_t>(size));
      at += (size + 63) / 64 * 64 + 64;
    }
    at = 64;
    for (size_t i = 0; i < sizes.size(); ++i) {
      views.push_back(std::make_unique<Buffer>(host_view(sent[i].data(), sizes[i])));
      there.add(device.plus(at), {views.back().get(), 0}, sizes[i]);
      views.push_back(std::make_unique<Buffer>(host_view(got[i].data(), sizes[i])));
      back.add({views.back().get(), 0}, device.plus(at), sizes[i]);
      at += (sizes[i] + 63) / 64 * 64 + (i + 1 < sizes.size() ? 64 : 0);
    }
  }
  DeviceMemory memory;
  MemoryRef device;
  std::vector<std::vector<uint8_t>> sent, got;
  std::vector<std::unique_ptr<Buffer>> views;
  Transfer there, back;
};

Status finish(const Subject& s, const Result<Ticket>& ticket) {
  if (!ticket.ok()) return ticket.error();
  return *ticket == kDone ? Status() : s.backend->wait(s.device, *ticket, s.soon());
}

bool moves_at_all(const Subject& s, Finding& f) {
  CostKey key;
  key.op = Op::kTransfer;
  key.bytes = 4096;
  const Support support = s.backend->supports(s.device, key, ModelShape{});
  if (!support.yes && !s.description.own_buffers && !s.is_link()) f.skipped = support.why;
  f.expect(support.yes || f.skipped.has_value(), "does not support transfers: " + support.why);
  return support.yes;
}

}  // namespace

Finding transfer_tasks_round_trip(const Subject& s) {
  Finding f;
  if (!moves_at_all(s, f)) return f;
  RoundTrip trip(s, 1);
  f.expect(trip.memory.status(), "operands");
  if (!trip.memory.status().ok()) return f;
  f.expect(perform(s, trip.there.task, trip.there.operands()), "to the device");
  for (size_t i = 0; i < trip.sent.size(); ++i)
    f.expect(trip.memory.get<uint8_t>(trip.there.moves[i].to, trip.sent[i].size()) == trip.sent[i],
             "move " + std::to_string(i) + " did not arrive");
  f.expect(perform(s, trip.back.task, trip.back.operands()), "to the host");
  f.expect(trip.got == trip.sent, "bytes came back changed");
  Transfer nothing(false);
  f.expect(perform(s, nothing.task, nothing.operands()), "a transfer without moves");
  return f;
}

// A device runs what it is given in order: a transfer back sees what the one before it brought.
Finding transfer_tasks_keep_order(const Subject& s) {
  Finding f;
  if (!moves_at_all(s, f)) return f;
  RoundTrip first(s, 2), second(s, 3);
  const Operands there = first.there.operands(), back = first.back.operands(), other = second.there.operands();
  const auto a = s.backend->submit(s.device, first.there.task, there);
  const auto b = s.backend->submit(s.device, second.there.task, other);
  const auto c = s.backend->submit(s.device, first.back.task, back);
  f.expect(finish(s, c), "to the host");
  f.expect(finish(s, a), "to the device");
  f.expect(finish(s, b), "another one to the device");
  f.expect(first.got == first.sent, "a transfer to the host did not see the one before it");
  return f;
}

Finding refuses_bad_moves(const Subject& s) {
  Finding f;
  if (!moves_at_all(s, f)) return f;
  DeviceMemory memory(s);
  const MemoryRef device = memory.empty(4096);
  std::vector<uint8_t> host(8192);
  Buffer view = host_view(host.data(), 8192);
  Buffer nothing;
  const int64_t beyond = device.buffer->bytes.n + 64;
  struct Bad {
    const char* what;
    Move move;
  };
  const Bad bad[] = {{"more bytes than the device's buffer has", {device, {&view, 0}, Bytes{beyond}}},
                     {"an offset behind the device's buffer", {device.plus(beyond), {&view, 0}, Bytes{64}}},
                     {"an offset before the device's buffer", {device.plus(-64), {&view, 0}, Bytes{64}}},
                     {"more bytes than the host has", {{&view, 8000}, device, Bytes{1000}}},
                     {"a negative number of bytes", {device, {&view, 0}, Bytes{-1}}},
                     {"no source", {device, {}, Bytes{64}}},
                     {"no target", {{}, device, Bytes{64}}},
                     {"an empty buffer", {device, {&nothing, 0}, Bytes{64}}}};
  for (const Bad& b : bad) {
    Transfer transfer(b.move.to.buffer == &view);
    transfer.add(b.move.to, b.move.from, b.move.bytes.n);
    const Operands operands = transfer.operands();
    const Status task = finish(s, s.backend->submit(s.device, transfer.task, operands));
    f.expect(!task.ok(), std::string(b.what) + ": a Transfer task did not notice");
    const Status call = s.backend->transfer(s.memory_device, b.move.to, b.move.from, b.move.bytes);
    f.expect(!call.ok(), std::string(b.what) + ": transfer() did not notice");
    for (const Status& status : {task, call})
      f.expect(status.ok() || s.named_in(status.error().message) || !s.description.available,
               std::string(b.what) + ": the error names no device" + (status.ok() ? "" : ": " + status.error().message));
  }
  return f;
}

// The executor has a thread for the device and one for its link.
Finding runs_beside_its_device(const Subject& s) {
  Finding f;
  Finding beside;
  Subject owner = s;
  owner.device = s.memory_device;
  owner.description = s.backend->describe()[static_cast<size_t>(s.memory_device)];
  std::thread link([&] {
    for (size_t i = 0; i < 20; ++i) {
      RoundTrip trip(s, i);
      beside.expect(perform(s, trip.there.task, trip.there.operands()), "to the device");
      beside.expect(perform(s, trip.back.task, trip.back.operands()), "to the host");
      beside.expect(trip.got == trip.sent, "bytes came back changed");
    }
  });
  for (int i = 0; i < 20; ++i) {
    const auto work = small_work(owner, i % 3);
    f.expect(work->ready, "operands");
    if (!work->ready.ok()) break;
    f.expect(perform(owner, work->task, work->operands), "a layer beside transfers");
    f.expect(work->wrong().empty(), "a layer beside transfers: " + work->wrong());
  }
  link.join();
  for (const std::string& failure : beside.failures) f.expect(false, failure);
  return f;
}

}  // namespace tessera::conformance
