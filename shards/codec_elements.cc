// Converts between stored element types and fp32, one element at a time: the same bytes on every machine.
#include "shards/codec_elements.h"

#include <bit>
#include <cstring>

#include <Eigen/Core>

namespace tessera {
namespace {

template <typename Half>
void decode(const std::byte* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    Half h;
    std::memcpy(&h, from + i * sizeof(Half), sizeof(Half));
    to[i] = static_cast<float>(h);
  }
}

template <typename Half>
void encode(const float* from, int64_t count, std::byte* to) {
  for (int64_t i = 0; i < count; ++i) {
    const Half h(from[i]);
    std::memcpy(to + i * sizeof(Half), &h, sizeof(Half));
  }
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "stored elements are little-endian");

void decode_elements(ElementType type, const std::byte* from, int64_t count, float* to) {
  if (count <= 0) return;
  switch (type) {
    case ElementType::kF32:
      std::memcpy(to, from, static_cast<size_t>(count) * 4);
      break;
    case ElementType::kF16:
      decode<Eigen::half>(from, count, to);
      break;
    case ElementType::kBf16:
      decode<Eigen::bfloat16>(from, count, to);
      break;
  }
}

void encode_elements(ElementType type, const float* from, int64_t count, std::byte* to) {
  if (count <= 0) return;
  switch (type) {
    case ElementType::kF32:
      std::memcpy(to, from, static_cast<size_t>(count) * 4);
      break;
    case ElementType::kF16:
      encode<Eigen::half>(from, count, to);
      break;
    case ElementType::kBf16:
      encode<Eigen::bfloat16>(from, count, to);
      break;
  }
}

const char* element_name(ElementType type) {
  switch (type) {
    case ElementType::kF32:
      return "f32";
    case ElementType::kF16:
      return "f16";
    case ElementType::kBf16:
      return "bf16";
  }
  return "?";
}

}  // namespace tessera
