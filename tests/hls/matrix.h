// Writes single matrices as shards/shard_format.h describes them, from chosen indices and outliers, and says what they mean.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "hls/kernels.h"
#include "shards/codec_elements.h"
#include "shards/shard_format.h"

namespace tessera::hls::testing {

struct Matrix {
  int out = 0, in = 0;
  Bits bits = 0;
  ElementType type = ElementType::kF16;
  std::vector<std::byte> bytes;
  std::vector<float> dense;  // [out, in]
};

namespace detail {

template <typename T>
void append(std::vector<std::byte>& to, const T* from, size_t count) {
  const auto* bytes = reinterpret_cast<const std::byte*>(from);
  to.insert(to.end(), bytes, bytes + count * sizeof(T));
}
inline void align(std::vector<std::byte>& to) { to.resize((to.size() + 3) / 4 * 4); }

inline std::vector<std::byte> stored(ElementType type, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(element_size(type)));
  encode_elements(type, values.data(), static_cast<int64_t>(values.size()), bytes.data());
  return bytes;
}

}  // namespace detail

// Random indices, a random ascending dictionary, and outliers at the given places k * 16 + n of the given panels.
struct OutlierAt {
  int panel, k, n;
};
inline Matrix coded_matrix(int out, int in, Bits bits, ElementType type, const std::vector<OutlierAt>& places,
                           uint32_t seed = 1) {
  std::mt19937 random(seed);
  Matrix m{out, in, bits, type, {}, std::vector<float>(static_cast<size_t>(out) * in)};
  const int panels = (out + 15) / 16;
  std::vector<float> dictionary(size_t{1} << bits);
  std::normal_distribution<float> normal(0, 0.1f);
  for (float& v : dictionary) v = normal(random);
  std::sort(dictionary.begin(), dictionary.end());
  std::vector<uint8_t> indices(static_cast<size_t>(panels) * in * 2 * bits);
  for (int p = 0; p < panels; ++p)
    for (int k = 0; k < in; ++k)
      for (int n = 0; n < 16; ++n) {
        const uint32_t index = random() & ((1u << bits) - 1);
        for (int b = 0; b < bits; ++b) {  // bit by bit: group n / 8, then bits in little-endian order
          const size_t group = (static_cast<size_t>(p) * in + k) * 2 * bits + static_cast<size_t>(n / 8) * bits;
          const size_t bit = static_cast<size_t>(n % 8) * bits + b;
          if (index >> b & 1) indices[group + bit / 8] |= static_cast<uint8_t>(1u << (bit % 8));
        }
        if (16 * p + n < out) m.dense[static_cast<size_t>(16 * p + n) * in + k] = dictionary[index];
      }
  std::vector<uint32_t> panel_start(panels + 1);
  std::vector<uint16_t> at;
  std::vector<float> values;
  for (int p = 0; p < panels; ++p) {
    panel_start[p] = static_cast<uint32_t>(at.size());
    for (const OutlierAt& o : places) {
      if (o.panel != p) continue;
      at.push_back(static_cast<uint16_t>(o.k * 16 + o.n));
      values.push_back(1.5f + 0.25f * static_cast<float>(values.size() % 9));  // exact in every stored type
      if (16 * p + o.n < out && o.k < in) m.dense[static_cast<size_t>(16 * p + o.n) * in + o.k] = values.back();
    }
  }
  panel_start[panels] = static_cast<uint32_t>(at.size());
  detail::append(m.bytes, dictionary.data(), dictionary.size());
  detail::append(m.bytes, panel_start.data(), panel_start.size());
  detail::append(m.bytes, indices.data(), indices.size());
  detail::align(m.bytes);
  detail::append(m.bytes, at.data(), at.size());
  detail::align(m.bytes);
  const auto outliers = detail::stored(type, values);
  detail::append(m.bytes, outliers.data(), outliers.size());
  m.bytes.resize(m.bytes.size() + 64);
  return m;
}

inline Matrix exact_matrix(int out, int in, ElementType type, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.1f);
  const int panels = (out + 15) / 16;
  std::vector<float> panel_values(static_cast<size_t>(panels) * in * 16);
  for (float& v : panel_values) v = normal(random);
  Matrix m{out, in, kExact, type, detail::stored(type, panel_values), std::vector<float>(static_cast<size_t>(out) * in)};
  decode_elements(type, m.bytes.data(), static_cast<int64_t>(panel_values.size()), panel_values.data());
  for (int o = 0; o < out; ++o)
    for (int k = 0; k < in; ++k)
      m.dense[static_cast<size_t>(o) * in + k] = panel_values[(static_cast<size_t>(o / 16) * in + k) * 16 + o % 16];
  m.bytes.resize(m.bytes.size() + 64);
  return m;
}

inline Matrix matrix(int out, int in, Bits bits, ElementType type, const std::vector<OutlierAt>& places = {},
                     uint32_t seed = 1) {
  return bits == kExact ? exact_matrix(out, in, type, seed) : coded_matrix(out, in, bits, type, places, seed);
}

}  // namespace tessera::hls::testing
