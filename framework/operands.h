// What a task works on: memory, weights, residents, activations. Plain views; the binder owns what they point to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "framework/task.h"

namespace tessera {

// Memory of a device. `host` is null where the host cannot address it; `native` is the backend's own handle.
struct Buffer {
  std::byte* host = nullptr;
  void* native = nullptr;
  Bytes bytes;
  MemoryId memory = 0;
  DeviceId device = 0;
};

// A place inside a buffer.
struct MemoryRef {
  Buffer* buffer = nullptr;
  int64_t offset = 0;
  explicit operator bool() const { return buffer != nullptr; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(buffer->host + offset);
  }
  MemoryRef plus(int64_t bytes) const { return {buffer, offset + bytes}; }
};

// One extent to read. Offset and length are multiples of 4096; the destination is 4096-aligned. `checksum` is XXH3 (64 bits)
// of the whole extent, padding included, and is checked by the storage device.
struct ReadRequest {
  int fd = -1;  // opened by the store; O_DIRECT where the store was opened cold
  int64_t offset = 0;
  int64_t length = 0;
  MemoryRef to;
  uint64_t checksum = 0;
  std::string_view file;  // path, for messages
};

// One copy of a transfer.
struct Move {
  MemoryRef to;
  MemoryRef from;
  Bytes bytes;
};

enum class ElementType : uint8_t { kF32, kF16, kBf16 };
constexpr int element_size(ElementType t) { return t == ElementType::kF32 ? 4 : 2; }

enum class WeightForm : uint8_t {
  kCoded,    // as stored: shards/shard_format.h
  kDecoded,  // fp32 panels: the same order, dictionary and outliers applied
};

// One shard's weights.
struct WeightRef {
  int slice = 0;
  Bits bits = kExact;
  WeightForm form = WeightForm::kCoded;
  ElementType exact_type = ElementType::kF32;  // of exact shards and of outliers, as stored
  MemoryRef data;
  int64_t bytes = 0;
};

// Norms and biases of one layer, fp32, host memory, resident for the model's life. Sliced biases are whole here: slice j's
// part of a [D] head bias starts at j * D/H, of a [F] bias at j * F/M.
struct LayerResidents {
  // Names this content for the life of the process, so that a device may keep a copy of it; 0: it may not.
  uint64_t id = 0;
  const float* query_bias = nullptr;             // [D]
  const float* key_bias = nullptr;               // [D]
  const float* value_bias = nullptr;             // [D]
  const float* attention_bias = nullptr;         // [D], shared: added once by combine
  const float* attention_norm_weight = nullptr;  // [D]
  const float* attention_norm_bias = nullptr;    // [D]
  const float* ffn_up_bias = nullptr;            // [F]
  const float* ffn_down_bias = nullptr;          // [D], shared
  const float* ffn_norm_weight = nullptr;        // [D]
  const float* ffn_norm_bias = nullptr;          // [D]
};

// Embedding rows of the request's tokens, as stored. word[t], position[t] and type[t] each point to D elements.
struct RowRefs {
  ElementType type = ElementType::kF32;
  std::span<const std::byte* const> word;
  std::span<const std::byte* const> position;
  std::span<const float* const> token_type;  // resident, fp32
  const float* norm_weight = nullptr;        // [D]
  const float* norm_bias = nullptr;          // [D]
};

// Exit head as stored: row-major [out, in].
struct ExitRefs {
  ElementType type = ElementType::kF32;
  const std::byte* pooler_weight = nullptr;      // [D, D]
  const std::byte* pooler_bias = nullptr;        // [D]
  const std::byte* classifier_weight = nullptr;  // [labels, D]
  const std::byte* classifier_bias = nullptr;    // [labels]
};

// Sequences laid end to end without padding: sequence s holds tokens [starts[s], starts[s + 1]). T below = starts.back().
struct Batch {
  std::span<const int32_t> starts;  // [B + 1]
  int size() const { return static_cast<int>(starts.size()) - 1; }
  int tokens() const { return starts.empty() ? 0 : starts.back(); }
};

// Everything a task may need; which fields are set depends on the op:
//   kLoad*          reads
//   kEmbed          rows -> output f32 [T, D]
//   kLayer          input f32 [T, D], weights, residents -> output f32 [T, D] (may be the input)
//   kAttentionPart  input f32 [T, D], weights, residents -> output f64 [T, D] (sum over the slices, on an exact grid)
//   kFfnPart        likewise
//   kCombine        input f32 [T, D] (the residual), partials f64 [T, D] each, residents -> output f32 [T, D];
//                   `task.cost.slices` 0: attention's bias and norm, 1: the FFN's
//   kExit           input f32 [T, D], exit -> output f32 [B, labels]
//   kTransfer       moves; task.cost.bytes is their sum. Submitted to the device whose buffers take part, or to its link
struct Operands {
  const ModelShape* shape = nullptr;
  std::span<const ReadRequest> reads;
  std::span<const Move> moves;
  Batch batch;
  MemoryRef input;
  MemoryRef output;
  std::span<const WeightRef> weights;  // ascending by slice
  std::span<const MemoryRef> partials;
  const LayerResidents* residents = nullptr;
  const RowRefs* rows = nullptr;
  const ExitRefs* exit = nullptr;
  MemoryRef workspace;  // at least estimate().workspace bytes, 64-aligned
  int64_t workspace_bytes = 0;
};

}  // namespace tessera
