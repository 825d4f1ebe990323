// Turns coded, fp16 and bf16 panels into fp32 panels (included once per instruction set).
#if defined(TESSERA_CPU_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_CPU_DECODE_INL_H_
#undef TESSERA_CPU_DECODE_INL_H_
#else
#define TESSERA_CPU_DECODE_INL_H_
#endif

#include "backends/cpu/gemm-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tessera::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using U32 = hn::Rebind<uint32_t, F32>;

// `count` (a multiple of kLanes) stored elements at `from`, as fp32.
template <typename Stored>
HWY_INLINE void widen(const std::byte* from, size_t count, float* HWY_RESTRICT to) {
  const F32 d;
  const hn::Rebind<Stored, F32> half;
  const auto* stored = reinterpret_cast<const Stored*>(from);
  for (size_t i = 0; i < count; i += kLanes) hn::Store(hn::PromoteTo(d, hn::LoadU(half, stored + i)), d, to + i);
}

// How lane i of a row of 16 indices is found in the row's 2 * bits bytes: which two bytes, and how far to shift them.
struct RowUnpacking {
  HWY_ALIGN uint8_t bytes[kPanel * 4];  // per lane: low byte, high byte, none, none; within any 16-byte block
  HWY_ALIGN uint32_t shifts[kPanel];
};
template <int kBits>
constexpr RowUnpacking row_unpacking() {
  RowUnpacking u{};
  for (int i = 0; i < kPanel; ++i) {
    const int bit = i % 8 * kBits;
    const int byte = i / 8 * kBits + bit / 8;
    const bool straddles = bit % 8 + kBits > 8;
    u.bytes[4 * i] = static_cast<uint8_t>(byte);
    u.bytes[4 * i + 1] = straddles ? static_cast<uint8_t>(byte + 1) : 0x80;  // 0x80: zero
    u.bytes[4 * i + 2] = u.bytes[4 * i + 3] = 0x80;
    u.shifts[i] = static_cast<uint32_t>(bit % 8);
  }
  return u;
}

// dictionary[index] from 2^kBits / kLanes registers, halved bit by bit.
template <int kBits>
struct Lookup {
  Lookup<kBits - 1> low, high;
  HWY_INLINE explicit Lookup(const float* dictionary) : low(dictionary), high(dictionary + (1 << (kBits - 1))) {}
  template <typename Indices>
  HWY_INLINE V32 operator()(hn::Vec<U32> index, const Indices& lanes) const {
    const auto upper = hn::RebindMask(F32(), hn::TestBit(index, hn::Set(U32(), 1u << (kBits - 1))));
    return hn::IfThenElse(upper, high(index, lanes), low(index, lanes));
  }
};
inline constexpr int kLaneBits = kLanes == 16 ? 4 : kLanes == 8 ? 3 : 2;
template <>
struct Lookup<kLaneBits> {
  V32 table;
  HWY_INLINE explicit Lookup(const float* dictionary) : table(hn::LoadU(F32(), dictionary)) {}
  template <typename Indices>
  HWY_INLINE V32 operator()(hn::Vec<U32>, const Indices& lanes) const {
    return hn::TableLookupLanes(table, lanes);
  }
};

// Registers hold the dictionary up to these bits; beyond, scalar loads are faster than gathers (measured on Zen 5).
inline constexpr int kRegisterBits = kLanes == 16 ? 7 : kLanes == 8 ? 4 : 2;

// Dictionaries shorter than a register are repeated to fill one.
template <int kBits>
struct Dictionary {
  static constexpr int kEntries = (1 << kBits) > kLanes ? (1 << kBits) : kLanes;
  HWY_ALIGN float entries[kEntries];
  explicit Dictionary(const float* from) {
    for (int i = 0; i < kEntries; ++i) entries[i] = from[i & ((1 << kBits) - 1)];
  }
};

// `rows` rows of 16 indices -> rows of 16 fp32.
template <int kBits>
void decode_rows(const uint8_t* HWY_RESTRICT indices, const float* dictionary, size_t rows, float* HWY_RESTRICT to) {
  static constexpr RowUnpacking kUnpack = row_unpacking<kBits>();
  const F32 d;
  const U32 du;
  const hn::Repartition<uint8_t, U32> d8;
  const auto mask = hn::Set(du, (1u << kBits) - 1);
  const Dictionary<kBits> entries(dictionary);
  const Lookup<kBits <= kRegisterBits ? (kBits < kLaneBits ? kLaneBits : kBits) : kLaneBits> lookup(entries.entries);
  for (size_t k = 0; k < rows; ++k, indices += 2 * kBits, to += kPanel) {
    const auto row = hn::LoadDup128(d8, indices);  // may read past the row: 64 readable bytes follow a shard
    HWY_UNROLL(4)
    for (int v = 0; v < kPanelVectors; ++v) {
      const auto pairs = hn::TableLookupBytesOr0(row, hn::Load(d8, kUnpack.bytes + v * kLanes * 4));
      const auto index = hn::And(hn::BitCast(du, pairs) >> hn::Load(du, kUnpack.shifts + v * kLanes), mask);
      if constexpr (kBits <= kRegisterBits) {
        const auto lanes = hn::IndicesFromVec(d, hn::And(index, hn::Set(du, kLanes - 1)));
        hn::Store(lookup(index, lanes), d, to + v * kLanes);
      } else {
        HWY_ALIGN uint32_t at[kLanes];
        hn::Store(index, du, at);
        for (int i = 0; i < kLanes; ++i) to[v * kLanes + i] = entries.entries[at[i]];
      }
    }
  }
}

// Puts a panel's outliers in their places, 64 values at a time.
template <typename Position, typename Stored>
HWY_INLINE void put_outliers(const CodedMatrix& m, int panel, float* HWY_RESTRICT to) {
  const auto* at = static_cast<const Position*>(m.outlier_at);
  const auto* values = static_cast<const Stored*>(m.outliers);
  HWY_ALIGN Stored stored[64];
  HWY_ALIGN float wide[64];
  for (uint32_t i = m.panel_start[panel], end = m.panel_start[panel + 1]; i < end; i += 64) {
    const size_t count = std::min<size_t>(64, end - i);
    std::copy_n(values + i, count, stored);
    std::fill(stored + count, stored + 64, Stored{});
    if constexpr (sizeof(Stored) == 4) {
      std::copy_n(stored, count, wide);
    } else {
      widen<Stored>(reinterpret_cast<const std::byte*>(stored), (count + kLanes - 1) / kLanes * kLanes, wide);
    }
    for (size_t j = 0; j < count; ++j) to[at[i + j]] = wide[j];
  }
}

template <typename Position>
HWY_INLINE void put_outliers_of(const CodedMatrix& m, int panel, float* to) {
  switch (m.outlier_type) {
    case ElementType::kF32:
      return put_outliers<Position, float>(m, panel, to);
    case ElementType::kF16:
      return put_outliers<Position, hwy::float16_t>(m, panel, to);
    case ElementType::kBf16:
      return put_outliers<Position, hwy::bfloat16_t>(m, panel, to);
  }
}

// A byte is an index: nothing to unpack.
template <>
HWY_INLINE void decode_rows<8>(const uint8_t* HWY_RESTRICT indices, const float* dictionary, size_t rows,
                               float* HWY_RESTRICT to) {
  const Dictionary<8> entries(dictionary);
  for (size_t i = 0; i < rows * kPanel; ++i) to[i] = entries.entries[indices[i]];
}

using RowsFunction = void (*)(const uint8_t*, const float*, size_t, float*);
inline constexpr RowsFunction kDecodeRows[8] = {&decode_rows<1>, &decode_rows<2>, &decode_rows<3>, &decode_rows<4>,
                                                &decode_rows<5>, &decode_rows<6>, &decode_rows<7>, &decode_rows<8>};

HWY_INLINE void decode_panel(const CodedMatrix& m, int panel, float* to) {
  const size_t in = static_cast<size_t>(m.dims.in);
  kDecodeRows[m.bits - 1](m.indices + static_cast<size_t>(panel) * in * 2 * m.bits, m.dictionary, in, to);
  if (m.wide()) {
    put_outliers_of<uint32_t>(m, panel, to);
  } else {
    put_outliers_of<uint16_t>(m, panel, to);
  }
}

const float* Fp32Panels(const MatrixView& matrix, int first, int count, float* scratch) {
  const size_t panel = static_cast<size_t>(matrix.dims.in) * kPanel;
  if (matrix.coded) {
    for (int p = 0; p < count; ++p) decode_panel(matrix.code, first + p, scratch + static_cast<size_t>(p) * panel);
    return scratch;
  }
  const std::byte* from = matrix.panels + first * panel * static_cast<size_t>(element_size(matrix.type));
  switch (matrix.type) {
    case ElementType::kF32:
      return reinterpret_cast<const float*>(from);
    case ElementType::kF16:
      widen<hwy::float16_t>(from, count * panel, scratch);
      return scratch;
    case ElementType::kBf16:
      widen<hwy::bfloat16_t>(from, count * panel, scratch);
      return scratch;
  }
  return scratch;
}

}  // namespace tessera::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
