// Names the units that every other header speaks in, so that no number travels without one.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace tessera {

// A span of time in whole nanoseconds. Virtual time is exact: only integers are compared and added.
struct Duration {
  int64_t ns = 0;
  constexpr auto operator<=>(const Duration&) const = default;
  constexpr double ms() const { return static_cast<double>(ns) / 1e6; }
  constexpr double us() const { return static_cast<double>(ns) / 1e3; }
  constexpr double seconds() const { return static_cast<double>(ns) / 1e9; }
  constexpr Duration& operator+=(Duration o) {
    ns += o.ns;
    return *this;
  }
  constexpr Duration& operator-=(Duration o) {
    ns -= o.ns;
    return *this;
  }
};
constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
constexpr Duration operator*(Duration a, int64_t k) { return {a.ns * k}; }
constexpr Duration operator*(int64_t k, Duration a) { return {a.ns * k}; }

constexpr Duration nanoseconds(int64_t n) { return {n}; }
constexpr Duration microseconds(int64_t n) { return {n * 1'000}; }
constexpr Duration milliseconds(int64_t n) { return {n * 1'000'000}; }
// Rounds to the nearest nanosecond, halves up. The one place where an estimate becomes an integer.
Duration from_seconds(double s);
Duration from_ms(double ms);
inline constexpr Duration kForever{INT64_MAX};

// An amount of memory or of storage. Signed, so that differences need no care.
struct Bytes {
  int64_t n = 0;
  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes o) {
    n += o.n;
    return *this;
  }
  constexpr Bytes& operator-=(Bytes o) {
    n -= o.n;
    return *this;
  }
};
constexpr Bytes operator+(Bytes a, Bytes b) { return {a.n + b.n}; }
constexpr Bytes operator-(Bytes a, Bytes b) { return {a.n - b.n}; }
constexpr Bytes operator*(Bytes a, int64_t k) { return {a.n * k}; }
constexpr Bytes kib(int64_t n) { return {n << 10}; }
constexpr Bytes mib(int64_t n) { return {n << 20}; }
inline constexpr Bytes kUnlimited{INT64_MAX};
// The next multiple of `alignment` (a power of two) at or above `b`.
constexpr Bytes align_up(Bytes b, int64_t alignment) { return {(b.n + alignment - 1) & -alignment}; }

struct BytesPerSecond {
  double value = 0;
  constexpr auto operator<=>(const BytesPerSecond&) const = default;
};

struct Joules {
  double value = 0;
  constexpr auto operator<=>(const Joules&) const = default;
};

// Loss and accuracy in millionths (accuracy 0.905 = 905,000), integers so that plans compare exactly.
struct Micro {
  int64_t n = 0;
  constexpr auto operator<=>(const Micro&) const = default;
  constexpr double value() const { return static_cast<double>(n) / 1e6; }
};
constexpr Micro operator+(Micro a, Micro b) { return {a.n + b.n}; }
constexpr Micro operator-(Micro a, Micro b) { return {a.n - b.n}; }
Micro to_micro(double v);

// "18.2 ms", "940 us", "7.1 MiB", "83.0 MB/s": for messages and tables.
std::string to_string(Duration d);
std::string to_string(Bytes b);
std::string to_string(BytesPerSecond b);

}  // namespace tessera
