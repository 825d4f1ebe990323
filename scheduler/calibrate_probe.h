// Runs single computes on a device with operands in its own kind of memory, on the store's weights.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {

// Buffers of a device, and how host bytes get there.
class DeviceMemory {
 public:
  DeviceMemory(const DeviceBinding& binding, bool own_buffers) : binding_(binding), own_buffers_(own_buffers) {}
  ~DeviceMemory() { release_down_to(0); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // A new buffer that holds `bytes`.
  Result<Buffer*> hold(const std::vector<std::byte>& bytes);
  Result<Buffer*> zeros(int64_t bytes) { return hold(std::vector<std::byte>(static_cast<size_t>(bytes))); }
  size_t count() const { return buffers_.size(); }
  // Gives back what was held since there were `count` buffers.
  void release_down_to(size_t count);

 private:
  const DeviceBinding binding_;
  const bool own_buffers_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// What one task took: by the host's clock from submit to the end of wait, and by the device's own where that is credible.
struct Taken {
  double host = 0;  // seconds
  std::optional<double> device;
};

class ComputeProbe {
 public:
  ComputeProbe(const DeviceDescription& device, const DeviceBinding& binding, const Store& store);
  // Operands for all of `keys`; once, before any of them runs.
  Status prepare(const std::vector<CostKey>& keys);
  // Runs one task; its weights are another layer's than the last one's, as in a request. Weights of one bitwidth are in
  // memory at a time: keys of one pool come together.
  Result<Taken> run(const CostKey& key);
  int layer() const { return layer_; }  // of the last task
  // What the last task wrote: its first `count` floats; and what every layer's input starts with.
  Result<std::vector<float>> output(size_t count);
  static std::vector<float> input(size_t count);
  // What weights a key needs: none, decoded, or a level of bits.
  static int pool_of(const CostKey& key);
  Bytes workspace(const CostKey& key) const { return binding_.backend->estimate(binding_.device, key, shape_).workspace; }

 private:
  // A layer's shards in one form.
  struct LayerWeights {
    int layer = 0;
    std::vector<WeightRef> slices;
  };
  static constexpr int kNoWeights = -2, kDecodedWeights = -1;  // else a level of bits

  Status hold_rows_and_exit();
  Status bind(const CostKey& key, Task& task, Operands& o, RowRefs& rows);
  Result<const LayerWeights*> layer_weights(const CostKey& key);
  int copies(int64_t shard_bytes) const;
  Status fill_coded(Bits bits);
  Status fill_decoded();
  Result<const std::vector<std::byte>*> read_aligned(const Extent& extent);

  const DeviceBinding binding_;
  const Store& store_;
  const ModelShape& shape_;
  DeviceMemory memory_;
  int most_tokens_ = 0;
  int layer_ = 0;
  size_t turn_ = 0;
  Buffer* input_ = nullptr;
  Buffer* output_ = nullptr;  // large enough for f64
  Buffer* workspace_ = nullptr;
  std::vector<std::byte> row_, exit_bytes_, staging_;
  std::vector<const std::byte*> rows_;
  std::vector<const float*> types_;
  std::vector<MemoryRef> partials_;
  ExitRefs exit_;
  int filled_ = kNoWeights;  // the pool that is in memory
  std::vector<LayerWeights> pool_;
  size_t kept_buffers_ = 0;  // that are not weights
};

}  // namespace tessera::calibration
