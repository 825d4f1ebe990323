// Checks memory: aligned, refused with numbers where it cannot be had, copied as it is.
#include <algorithm>
#include <cstdint>

#include "tests/conformance/contract_checks.h"
#include "tests/conformance/work.h"

namespace tessera::conformance {
namespace {

int numbers_in(const std::string& text) {
  int count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
    const bool starts = digit(i) && (i == 0 || (!digit(i - 1) && text[i - 1] != '.'));
    count += starts ? 1 : 0;
  }
  return count;
}

// The message without the device's name, whose digits tell nothing.
std::string without(std::string text, const std::string& name) {
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name)) text.erase(at, name.size());
  return text;
}

}  // namespace

Finding allocates_aligned(const Subject& s) {
  Finding f;
  for (const int64_t bytes : {int64_t{1}, int64_t{4095}, int64_t{4096}, int64_t{4097}, int64_t{1} << 20}) {
    Result<Buffer> buffer = s.backend->allocate(s.device, Bytes{bytes});
    f.expect(buffer.ok(), "cannot allocate " + std::to_string(bytes) + " bytes");
    if (!buffer.ok()) continue;
    f.expect(buffer->bytes.n >= bytes,
             "gave " + std::to_string(buffer->bytes.n) + " of " + std::to_string(bytes) + " bytes");
    f.expect(buffer->host != nullptr || buffer->native != nullptr, "a buffer without memory");
    f.expect(!s.description.host_visible || buffer->host != nullptr, "host-visible, but without a host address");
    f.expect(s.description.own_buffers || buffer->host != nullptr, "works on host memory, but gives none");
    f.expect(reinterpret_cast<uintptr_t>(buffer->host) % 4096 == 0, "not aligned to 4096");
    s.backend->release(*buffer);
  }
  return f;
}

Finding refuses_absurd_sizes(const Subject& s) {
  Finding f;
  for (const int64_t bytes : {INT64_MAX, INT64_MAX - 4096, INT64_MAX / 2, int64_t{-1}}) {
    Result<Buffer> buffer = s.backend->allocate(s.device, Bytes{bytes});
    f.expect(!buffer.ok(), "allocated " + std::to_string(bytes) + " bytes");
    if (buffer.ok())
      s.backend->release(*buffer);
    else
      f.expect(s.named_in(buffer.error().message), "the error names no device: " + buffer.error().message);
  }
  Buffer never_allocated;
  s.backend->release(never_allocated);  // harmless
  return f;
}

// More than there is: refused with what was asked and what there is.
Finding keeps_its_capacity(const Subject& s) {
  Finding f;
  const Bytes capacity = s.description.memory_capacity;
  if (capacity == kUnlimited) {
    f.skipped = s.description.name + " declares no capacity";
    return f;
  }
  const Bytes asked{capacity.n + (int64_t{1} << 30)};
  Result<Buffer> buffer = s.backend->allocate(s.device, asked);
  f.expect(!buffer.ok(), to_string(asked) + " of " + to_string(capacity) + " were given");
  if (buffer.ok()) {
    s.backend->release(*buffer);
    return f;
  }
  const Error& error = buffer.error();
  f.expect(error.code == ErrorCode::kInfeasible || error.code == ErrorCode::kDevice,
           "neither infeasible nor the device's fault: " + error.message);
  f.expect(s.named_in(error.message), "the error names no device: " + error.message);
  f.expect(numbers_in(without(error.message, s.description.name)) >= 2,
           "the error does not tell what was asked and what there is: " + error.message);
  buffer = s.backend->allocate(s.device, kib(64));
  f.expect(buffer.ok(), "cannot allocate 64 KiB after that");
  if (buffer.ok()) s.backend->release(*buffer);
  return f;
}

// What was given back can be had again: more in all than the device has at once.
Finding gives_back_memory(const Subject& s) {
  Finding f;
  const Bytes capacity = s.description.memory_capacity;
  const Bytes piece = std::min(mib(24), Bytes{capacity.n / 2});
  for (int i = 0; i < 20; ++i) {
    Result<Buffer> buffer = s.backend->allocate(s.device, piece);
    f.expect(buffer.ok(), buffer.ok() ? "" : "round " + std::to_string(i) + ": " + buffer.error().message);
    if (!buffer.ok()) return f;
    s.backend->release(*buffer);
    f.expect(buffer->host == nullptr && buffer->native == nullptr, "a released buffer still points to its memory");
  }
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

}  // namespace tessera::conformance
