// Rounds estimates to whole units once, and prints units for people.
#include "framework/units.h"

#include <cmath>
#include <cstdio>

namespace tessera {
namespace {

// Nearest integer, halves up; saturates, and NaN (a cost model gone wrong) becomes "never" rather than "free".
int64_t round_half_up(double v) {
  if (std::isnan(v)) return INT64_MAX;
  const double r = std::floor(v + 0.5);
  if (r >= 9.2233720368547758e18) return INT64_MAX;
  if (r <= -9.2233720368547758e18) return -INT64_MAX;
  return static_cast<int64_t>(r);
}

std::string three_digits(double v, const char* unit) {
  const double magnitude = std::fabs(v);
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f %s", magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : 2, v, unit);
  return text;
}

std::string one_decimal(double v, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.1f %s", v, unit);
  return text;
}

}  // namespace

Duration from_seconds(double s) { return {round_half_up(s * 1e9)}; }
Duration from_ms(double ms) { return {round_half_up(ms * 1e6)}; }
Micro to_micro(double v) { return {round_half_up(v * 1e6)}; }

std::string to_string(Duration d) {
  if (d == kForever) return "forever";
  const double magnitude = std::fabs(static_cast<double>(d.ns));
  if (magnitude < 1e3) return std::to_string(d.ns) + " ns";
  if (magnitude < 999.5e3) return three_digits(d.us(), "us");
  if (magnitude < 9999.5e6) return three_digits(d.ms(), "ms");
  return three_digits(d.seconds(), "s");
}

std::string to_string(Bytes b) {
  if (b == kUnlimited) return "unlimited";
  const double n = static_cast<double>(b.n), magnitude = std::fabs(n);
  if (magnitude < 1024.0) return std::to_string(b.n) + " B";
  if (magnitude < 1023.95 * 1024.0) return one_decimal(n / 1024.0, "KiB");
  if (magnitude < 1023.95 * 1048576.0) return one_decimal(n / 1048576.0, "MiB");
  return one_decimal(n / 1073741824.0, "GiB");
}

std::string to_string(BytesPerSecond b) {
  const double magnitude = std::fabs(b.value);
  if (magnitude < 999.95) return one_decimal(b.value, "B/s");
  if (magnitude < 999.95e3) return one_decimal(b.value / 1e3, "kB/s");
  if (magnitude < 999.95e6) return one_decimal(b.value / 1e6, "MB/s");
  return one_decimal(b.value / 1e9, "GB/s");
}

}  // namespace tessera
