// Runs probes on a backend: batches of ragged sequences through the layers, keeping what neighbouring probes share.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "framework/backend.h"
#include "shards/store.h"
#include "shards/tokenizer.h"

namespace tessera {

// Memory of one device, released with it.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  static Result<DeviceMemory> allocate(Backend& backend, int device, int64_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept
      // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): a Result that is asked for its value holds one
      : backend_(other.backend_), device_(other.device_), buffer_(std::move(other.buffer_)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();
  // A copy of host bytes, blocking.
  Status fill(const std::byte* from, int64_t bytes);
  Status copy_out(std::byte* to, int64_t bytes) const;
  MemoryRef ref() const { return {buffer_.get(), 0}; }

 private:
  Backend* backend_ = nullptr;
  int device_ = 0;
  std::unique_ptr<Buffer> buffer_;  // the address stays while operands point to it
};

// All versions of all shards and all exit heads, on the device. The store and the backend outlive it.
class LoadedWeights {
 public:
  static Result<LoadedWeights> load(const Store& store, Backend& backend, int device, const std::atomic<bool>* cancel);
  WeightRef shard(int layer, int slice, Bits bits) const;
  const ExitRefs& exit(int depth) const { return exits_[static_cast<size_t>(depth - 1)]; }

 private:
  struct Held {
    DeviceMemory memory;
    int64_t bytes = 0;
  };
  const Store* store_ = nullptr;
  std::vector<Held> shards_;  // [L][M][kBitsLevels]
  std::vector<std::unique_ptr<std::byte[]>> exit_bytes_;
  std::vector<ExitRefs> exits_;
};

// One part of the data on the device, with the activations of the last probe. One thread.
class ProbeRunner {
 public:
  // `step` is called after every piece of work with its cost (layer x slice x token); an error from it ends the run.
  using Step = std::function<Status(int64_t cost)>;
  static Result<std::unique_ptr<ProbeRunner>> create(const Store& store, const LoadedWeights& weights, Backend& backend,
                                                     int device, std::span<const Encoding> sequences);
  ~ProbeRunner();
  ProbeRunner(const ProbeRunner&) = delete;
  ProbeRunner& operator=(const ProbeRunner&) = delete;

  // Logits [sequences][labels] of the first `depth` layers at bits[l * M + j]. Layers whose bits, and all before theirs, are
  // those of the last call are not computed again.
  Result<std::vector<float>> run(int depth, const std::vector<Bits>& bits, const Step& step);
  int64_t tokens() const { return tokens_; }

 private:
  // Some sequences that pass through a layer together: large enough that decoding is amortised, small enough for caches.
  struct Chunk {
    std::vector<int32_t> starts{0};
    int longest = 0;
    std::vector<DeviceMemory> activations;  // [L + 1]: the input of layer l; the last is the output
    DeviceMemory logits;
  };
  ProbeRunner(const Store& store, const LoadedWeights& weights, Backend& backend, int device)
      : store_(store), weights_(weights), backend_(backend), device_(device) {}
  Status prepare(std::span<const Encoding> sequences);
  Status add_chunk(std::span<const Encoding> sequences);
  Status embed(Chunk& chunk, std::span<const Encoding> sequences);
  Status layer(int l, const std::vector<Bits>& bits, const Step& step);
  Status exit(int depth, Chunk& chunk, std::vector<float>* logits);
  Result<const std::byte*> row(const RowLocation& location);
  Status execute(Op op, const Chunk& chunk, const BitsHistogram& bits, Operands& operands);

  const Store& store_;
  const LoadedWeights& weights_;
  Backend& backend_;
  const int device_;
  std::vector<Chunk> chunks_;
  std::vector<std::pair<int64_t, std::unique_ptr<std::byte[]>>> blocks_;  // of rows, while chunks are embedded; by offset
  DeviceMemory workspace_;
  int64_t workspace_bytes_ = 0;
  int64_t tokens_ = 0;
  std::vector<Bits> computed_;  // bits of the layers whose outputs are kept
};

}  // namespace tessera
