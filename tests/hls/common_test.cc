// Checks what the kernels share: the grid of sums, stored elements, rows inside lines, and the table of register maps.
#include <cmath>
#include <set>
#include <string>

#include "hls/common/element.h"
#include "hls/common/grid.h"
#include "hls/common/kernel_table.h"
#include "hls/common/rows.h"
#include "shards/codec_elements.h"
#include "tests/hls/card.h"

namespace tessera::hls::testing {
namespace {

double from_bits(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
uint64_t to_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// The way of backends/cpu: adding 1.5 * 2^20 rounds to multiples of 2^-32.
double rounded_by_addition(float value) {
  volatile double shifted = static_cast<double>(value) + 0x1.8p20;
  return shifted - 0x1.8p20;
}

TEST(HlsGrid, RoundsAsAdditionInDoubleDoes) {
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    const float value =
        std::ldexp(std::uniform_real_distribution<float>(-1, 1)(random), static_cast<int>(random() % 60) - 41);
    bool overflow = false;
    const Grid grid = grid_of(value, overflow);
    ASSERT_EQ(from_bits(double_of_grid(grid, overflow)), rounded_by_addition(value)) << value;
    ASSERT_FALSE(overflow);
  }
}

TEST(HlsGrid, BreaksTiesToEven) {
  bool overflow = false;
  for (const int odd : {-5, -3, -1, 1, 3, 5}) {
    const float half = std::ldexp(static_cast<float>(odd), -33);
    EXPECT_EQ(from_bits(double_of_grid(grid_of(half, overflow), overflow)), rounded_by_addition(half)) << odd;
  }
}

TEST(HlsGrid, TellsWhatLeavesIt) {
  const auto leaves = [](float value) {
    bool overflow = false;
    grid_of(value, overflow);
    return overflow;
  };
  EXPECT_FALSE(leaves(std::nextafter(0x1p19f, 0.0f)));
  for (const float value : {0x1p19f, -0x1p19f, INFINITY, -INFINITY, NAN}) EXPECT_TRUE(leaves(value)) << value;
  for (const float value : {0.0f, -0.0f, 1e-45f, -1e-40f}) EXPECT_FALSE(leaves(value)) << value;
}

TEST(HlsGrid, ReadsBackEveryDoubleThatItWrites) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 100000; ++i) {
    const Grid sum = static_cast<Grid>(random() >> (11 + random() % 52)) * (i % 2 == 0 ? 1 : -1);
    bool overflow = false;
    const uint64_t bits = double_of_grid(sum, overflow);
    ASSERT_EQ(from_bits(bits), static_cast<double>(sum) * 0x1p-32);
    ASSERT_EQ(grid_of_double(bits, overflow), sum);
    ASSERT_FALSE(overflow);
    ASSERT_EQ(float_of_grid(sum), static_cast<float>(static_cast<double>(sum) * 0x1p-32));
  }
  for (const double value : {0x1p21, -0x1p21, HUGE_VAL, std::nan("")}) {
    bool overflow = false;
    grid_of_double(to_bits(value), overflow);
    EXPECT_TRUE(overflow) << value;
  }
  bool overflow = false;
  double_of_grid(kSumEnd, overflow);
  EXPECT_TRUE(overflow);
}

TEST(HlsElement, WidensEveryHalfAsTheCodecDoes) {
  for (uint32_t stored = 0; stored < 0x10000; ++stored) {
    const auto half = static_cast<uint16_t>(stored);
    float f16, bf16;
    decode_elements(ElementType::kF16, reinterpret_cast<const std::byte*>(&half), 1, &f16);
    decode_elements(ElementType::kBf16, reinterpret_cast<const std::byte*>(&half), 1, &bf16);
    if (std::isnan(f16)) {
      ASSERT_TRUE(std::isnan(float_of_f16(half))) << stored;
    } else {
      ASSERT_EQ(bits_of(float_of_f16(half)), bits_of(f16)) << stored;
    }
    ASSERT_TRUE(std::isnan(bf16) || bits_of(float_of_bf16(half)) == bits_of(bf16)) << stored;
  }
}

TEST(HlsRows, TurnsLinesIntoRowsFromAnyPlace) {
  std::vector<Line> memory(8);
  for (uint32_t i = 0; i < 8 * kLineFloats; ++i) memory[i / kLineFloats].word[i % kLineFloats] = i + 1;
  for (const uint32_t start : {0u, 1u, 15u, 16u, 17u})
    for (const uint32_t count : {1u, 15u, 16u, 17u, 31u, 32u, 33u}) {
      std::vector<uint32_t> row;
      load_row(memory.data(), start, count, [&](uint32_t chunk, const Line& line) {
        ASSERT_EQ(chunk * kLineFloats, row.size());
        row.insert(row.end(), line.word, line.word + kLineFloats);
      });
      ASSERT_EQ(row.size(), (count + 15) / 16 * 16);
      for (uint32_t i = 0; i < row.size(); ++i) ASSERT_EQ(row[i], i < count ? start + i + 1 : 0) << start << " " << count;
    }
}

// ---- the table

const KernelEntry* find(const std::string& name) {
  for (const KernelEntry* k = tessera_hls_kernels(); k != nullptr; k = k->next)
    if (name == k->name) return k;
  return nullptr;
}

TEST(HlsKernelTable, ListsEveryTopOnce) {
  std::multiset<std::string> names;
  for (const KernelEntry* k = tessera_hls_kernels(); k != nullptr; k = k->next) names.insert(k->name);
  for (const std::string name : {"matmul", "attention", "gelu", "layernorm_residual"}) {
    EXPECT_EQ(names.count(name), 1u);
#ifdef TESSERA_HLS_FIXED
    EXPECT_EQ(names.count(name + "_fixed"), 1u);
#endif
  }
}

TEST(HlsKernelTable, LaysRegistersOutAsVitisDoes) {
  const KernelEntry* k = find("gelu");
  ASSERT_NE(k, nullptr);
  // x, y: 64-bit pointers; x_at, y_at, status_at, lines: 32 bits; status: pointer.
  const std::vector<uint32_t> want = {0x10, 0x1c, 0x28, 0x30, 0x38, 0x40, 0x48};
  ASSERT_EQ(k->argument_count, want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(k->arguments[i].offset, want[i]);
  EXPECT_EQ(k->register_bytes, 0x54u);
  EXPECT_FALSE(k->arguments[0].writes);
  EXPECT_TRUE(k->arguments[1].writes);
  EXPECT_STREQ(k->arguments[6].name, "status");
}

// A register image of gelu over one line at device address 0x1000.
struct Image {
  uint8_t bytes[0x54] = {};
  void pointer(uint32_t at, uint64_t value) { std::memcpy(bytes + at, &value, 8); }
  void word(uint32_t at, uint32_t value) { std::memcpy(bytes + at, &value, 4); }
};

TEST(HlsKernelTable, CallsATopFromARegisterImage) {
  const KernelEntry* k = find("gelu");
  ASSERT_NE(k, nullptr);
  Card card;
  const uint32_t x = card.put(std::vector<float>(16, 1.0f)), y = card.room(64), status = card.status_word();
  Image image;
  for (const uint32_t at : {0x10, 0x1c, 0x48}) image.pointer(at, 0x1000);
  image.word(0x28, x), image.word(0x30, y), image.word(0x38, status), image.word(0x40, 1);
  const TranslateAddress translate = [](void* context, uint64_t address) -> void* {
    return address == 0x1000 ? static_cast<Card*>(context)->base() : nullptr;
  };
  EXPECT_TRUE(k->call(image.bytes, translate, &card));
  EXPECT_EQ(card.word(status), kStatusDone);
  EXPECT_NEAR(card.get<float>(y, 1)[0], 0.8413447f, 1e-6);
  image.pointer(0x1c, 0x2000);  // no memory there: not called
  card.remember();
  EXPECT_FALSE(k->call(image.bytes, translate, &card));
  EXPECT_TRUE(card.untouched_but(0, 0, 0));
}

}  // namespace
}  // namespace tessera::hls::testing
