// Fills device memory and makes small tasks.
#include "tests/conformance/work.h"

#include <algorithm>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "shards/hash.h"
#include "tests/backends/cpu_rig.h"
#include "tests/support/tiny_model.h"

namespace tessera::conformance {

Buffer host_view(const void* memory, int64_t bytes) {
  Buffer view;
  view.host = static_cast<std::byte*>(const_cast<void*>(memory));
  view.bytes = Bytes{bytes};
  return view;
}

namespace {

// One extent of a file in a temporary folder.
struct LoadWork final : SmallWork {
  LoadWork(const Subject& subject, int variant) : bytes(8192, '\0'), memory(subject) {
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + variant * 7);
    testing::spill(folder / "extent", bytes);
    path = folder / "extent";
    fd = ::open(path.c_str(), O_RDONLY);
    read.push_back({fd, 0, 8192, memory.empty(8192), checksum64(std::as_bytes(std::span(bytes))), path});
    task.kind = TaskKind::kLoad;
    task.cost.op = Op::kLoadShards;
    task.cost.bytes = 8192;
    task.cost.reads = 1;
    operands.reads = read;
    ready = memory.status();
  }
  ~LoadWork() override { ::close(fd); }
  std::string wrong() override {
    const auto got = memory.get<char>(read[0].to, bytes.size());
    return std::equal(got.begin(), got.end(), bytes.begin()) ? "" : "the extent's bytes differ";
  }
  std::string bytes;
  testing::TemporaryFolder folder;
  std::string path;
  DeviceMemory memory;
  std::vector<ReadRequest> read;
  int fd = -1;
};

// A whole layer at 4 bits over 32 tokens or more.
struct LayerWork final : SmallWork {
  LayerWork(const Subject& s, int variant)
      : subject(s),
        layer(4, 16, 32, ElementType::kF16),
        weights(testing::weights_of(layer, testing::all_slices(layer), 4, WeightForm::kCoded)),
        residents(layer.residents()),
        starts{0, 32 + 8 * variant},
        x(layer.input(starts[1])),
        memory(s) {
    task.cost.tokens = static_cast<uint16_t>(starts[1]);
    task.cost.slices = 4;
    task.cost.bits[bits_level(4)] = 4;
    task.slice_set = first_slices(4);
    operands.shape = &layer.shape;
    operands.batch.starts = starts;
    operands.input = memory.put(x);
    operands.output = memory.empty(static_cast<int64_t>(x.size()) * 4);
    for (size_t i = 0; i < weights.refs.size(); ++i)
      weights.refs[i].data = memory.put(weights.blocks[i].ref().as<std::byte>(), weights.blocks[i].bytes());
    operands.weights = weights.refs;
    operands.residents = &residents;
    const int64_t scratch = subject.backend->estimate(subject.device, task.cost, layer.shape).workspace.n;
    operands.workspace = memory.empty(std::max<int64_t>(scratch, 64));
    operands.workspace_bytes = scratch;
    ready = memory.status();
  }
  std::string wrong() override {
    std::vector<float> want(x.size());
    reference::layer(layer.shape, x, starts[1], weights.parts(), layer.biases, want);
    const auto got = memory.get<float>(operands.output, x.size());
    const auto result = testing::close(got, want, subject.declaration->tolerance);
    return result ? "" : result.message();
  }
  const Subject& subject;
  testing::RandomLayer layer;
  testing::Weights weights;
  LayerResidents residents;
  std::vector<int32_t> starts;
  std::vector<float> x;
  DeviceMemory memory;
};

// Host bytes to a buffer of the device.
struct MoveWork final : SmallWork {
  MoveWork(const Subject& subject, int variant) : sent(10'001), memory(subject) {
    for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<uint8_t>(i * 13 + variant * 5);
    const auto bytes = static_cast<int64_t>(sent.size());
    host = host_view(sent.data(), bytes);
    move.push_back({memory.empty(bytes), {&host, 0}, Bytes{bytes}});
    task.kind = TaskKind::kTransfer;
    task.payload = Payload::kWeights;
    task.cost.op = Op::kTransfer;
    task.cost.bytes = bytes;
    operands.moves = move;
    ready = memory.status();
  }
  std::string wrong() override {
    return memory.get<uint8_t>(move[0].to, sent.size()) == sent ? "" : "the moved bytes differ";
  }
  std::vector<uint8_t> sent;
  DeviceMemory memory;
  Buffer host;
  std::vector<Move> move;
};

}  // namespace

DeviceMemory::~DeviceMemory() {
  for (Buffer& buffer : buffers_) subject_.backend->release(buffer);
}

MemoryRef DeviceMemory::put(const void* from, int64_t bytes) {
  Result<Buffer> buffer = subject_.backend->allocate(subject_.memory_device, Bytes{bytes + 64});
  if (!buffer.ok()) {
    status_ = buffer.error();
    return {};
  }
  buffers_.push_back(buffer.take());
  const MemoryRef here{&buffers_.back(), 0};
  if (from == nullptr || bytes == 0) return here;
  Buffer view = host_view(from, bytes);
  if (Status copied = subject_.backend->transfer(subject_.memory_device, here, {&view, 0}, Bytes{bytes}); !copied.ok())
    status_ = copied;
  return here;
}

void DeviceMemory::copy_out(MemoryRef from, void* to, int64_t bytes) {
  if (!from || bytes == 0) return;
  Buffer view = host_view(to, bytes);
  if (Status copied = subject_.backend->transfer(subject_.memory_device, {&view, 0}, from, Bytes{bytes}); !copied.ok())
    status_ = copied;
}

Status perform(const Subject& subject, Task task, Operands operands) {
  DeviceMemory scratch(subject);
  if (operands.shape != nullptr && !operands.workspace) {
    const int64_t bytes = subject.backend->estimate(subject.device, task.cost, *operands.shape).workspace.n;
    if (bytes > 0) operands.workspace = scratch.empty(bytes);
    operands.workspace_bytes = bytes;
    TESSERA_TRY(Status(scratch.status()));
  }
  const Result<Ticket> ticket = subject.backend->submit(subject.device, task, operands);
  if (!ticket.ok()) return ticket.error();
  if (*ticket == kDone) return {};
  return subject.backend->wait(subject.device, *ticket, subject.soon());
}

std::unique_ptr<SmallWork> small_work(const Subject& subject, int variant) {
  if (subject.is_link()) return std::make_unique<MoveWork>(subject, variant);
  if (subject.declaration->computes && subject.is_storage()) return std::make_unique<LoadWork>(subject, variant);
  if (subject.declaration->computes) return std::make_unique<LayerWork>(subject, variant);
  auto work = std::make_unique<SmallWork>();
  work->task.cost.op = subject.is_storage() ? Op::kLoadShards : Op::kLayer;
  work->task.cost.tokens = 32;
  work->task.cost.slices = 4;
  work->task.cost.bits[bits_level(4)] = 4;
  work->task.cost.bytes = subject.is_storage() ? 8192 : 0;
  work->task.cost.reads = 1;
  return work;
}

}  // namespace tessera::conformance
