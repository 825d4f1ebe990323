// Tests that quantities are read with their units, exactly, and that bare numbers are refused.
#include "configs/units.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Units, ReadsDurationsExactly) {
  EXPECT_EQ(parse_duration("20ms").value(), milliseconds(20));
  EXPECT_EQ(parse_duration("28.28 ms").value(), nanoseconds(28'280'000));
  EXPECT_EQ(parse_duration(" 1.5 us ").value(), nanoseconds(1500));
  EXPECT_EQ(parse_duration("0s").value(), nanoseconds(0));
  EXPECT_EQ(parse_duration("2 min").value(), milliseconds(120'000));
  EXPECT_EQ(parse_duration("1e3 ns").value(), microseconds(1));
}

TEST(Units, TellsDecimalFromBinarySizes) {
  EXPECT_EQ(parse_bytes("8MiB").value(), mib(8));
  EXPECT_EQ(parse_bytes("8 MB").value().n, 8'000'000);
  EXPECT_EQ(parse_bytes("0.5 KiB").value().n, 512);
  EXPECT_EQ(parse_bytes("4096 B").value().n, 4096);
}

TEST(Units, ReadsBandwidths) {
  EXPECT_DOUBLE_EQ(parse_bandwidth("83 MB/s").value().value, 83e6);
  EXPECT_DOUBLE_EQ(parse_bandwidth("1GiB/s").value().value, 1073741824.0);
}

TEST(Units, ReadsComputeRates) {
  EXPECT_DOUBLE_EQ(parse_flops("60 GFLOP/s").value(), 60e9);
  EXPECT_DOUBLE_EQ(parse_weight_rate("900 Mweight/s").value(), 900e6);
}

TEST(Units, ReadsSharesAndHeat) {
  EXPECT_EQ(parse_share("50 %").value(), 500'000);
  EXPECT_EQ(parse_share("0.0001%").value(), 1);
  EXPECT_EQ(parse_share("130 %").value(), 1'300'000);
  EXPECT_EQ(parse_heat("38.5 K").value(), 38'500'000);
  EXPECT_NE(parse_share("0.5").error().message.find("0.5%"), std::string::npos);
  EXPECT_FALSE(parse_heat("-3 K").ok());
}

TEST(Units, RefusesABareNumberWithTheUnitItLacks) {
  const auto got = parse_duration("20");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kInvalid);
  EXPECT_NE(got.error().message.find("'20' has no unit; write 20ms"), std::string::npos) << got.error().message;
  EXPECT_NE(parse_bytes("8").error().message.find("8MiB"), std::string::npos);
  EXPECT_NE(parse_bandwidth("83").error().message.find("83MB/s"), std::string::npos);
}

TEST(Units, NamesAnUnknownUnitAndTheKnownOnes) {
  const auto got = parse_bytes("8 MBytes");
  ASSERT_FALSE(got.ok());
  EXPECT_NE(got.error().message.find("unknown unit 'MBytes'"), std::string::npos);
  EXPECT_NE(got.error().message.find("MiB"), std::string::npos);
  EXPECT_FALSE(parse_duration("20 MB").ok());
  EXPECT_FALSE(parse_bandwidth("83 MB").ok());
}

TEST(Units, RefusesWhatIsNotAQuantity) {
  for (const char* text : {"", " ", "ms", "-1ms", "nan ms", "inf ms", "1e400 s", "1e30 s", "--3ms", "0x10 ms", "1.2.3ms"})
    EXPECT_FALSE(parse_duration(text).ok()) << text;
  for (const char* text : {"", "MiB", "-4 KiB", "1e20 TiB"}) EXPECT_FALSE(parse_bytes(text).ok()) << text;
}

}  // namespace
}  // namespace tessera
