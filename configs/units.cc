// Reads quantities with their units.
#include "configs/units.h"

#include <charconv>
#include <cmath>
#include <span>
#include <string>

namespace tessera {
namespace {

struct Unit {
  std::string_view name;
  double scale;
};

constexpr Unit kDurations[] = {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}};
constexpr Unit kSizes[] = {
    {"B", 1},     {"kB", 1e3},     {"KB", 1e3},        {"MB", 1e6},           {"GB", 1e9},
    {"TB", 1e12}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
constexpr Unit kBandwidths[] = {{"B/s", 1},    {"kB/s", 1e3},     {"KB/s", 1e3},        {"MB/s", 1e6},
                                {"GB/s", 1e9}, {"KiB/s", 1024.0}, {"MiB/s", 1048576.0}, {"GiB/s", 1073741824.0}};
constexpr Unit kFlops[] = {{"MFLOP/s", 1e6}, {"GFLOP/s", 1e9}, {"TFLOP/s", 1e12}};
constexpr Unit kWeights[] = {{"Mweight/s", 1e6}, {"Gweight/s", 1e9}};
constexpr Unit kShares[] = {{"%", 1e4}, {"ppm", 1}};
constexpr Unit kHeats[] = {{"K", 1e6}, {"mK", 1e3}};
constexpr Unit kFrequencies[] = {{"kHz", 1e3}, {"MHz", 1e6}, {"GHz", 1e9}};

// What is read, for messages: what it is called, and a unit that a bare number probably lacks.
struct Quantity {
  std::string_view name, example_unit;
  std::span<const Unit> units;
};

Error bad(std::string message) { return {ErrorCode::kInvalid, std::move(message)}; }

std::string known(const Quantity& q) {
  std::string list;
  for (const Unit& u : q.units) {
    if (!list.empty()) list += ", ";
    list += u.name;
  }
  return list;
}

std::string_view trim(std::string_view s) {
  const size_t first = s.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t") - first + 1);
}

Result<double> parse(std::string_view text, const Quantity& q) {
  const std::string quoted = "'" + std::string(text) + "'";
  const std::string_view body = trim(text);
  double number = 0;
  const auto [end, failure] = std::from_chars(body.data(), body.data() + body.size(), number, std::chars_format::general);
  if (failure != std::errc() || !std::isfinite(number)) {
    return bad(quoted + " is not a " + std::string(q.name) + "; write a number and its unit, as in 20" +
               std::string(q.example_unit));
  }
  if (std::signbit(number) && number != 0) return bad(quoted + " is negative; a " + std::string(q.name) + " is at least 0");
  const size_t digits = static_cast<size_t>(end - body.data());
  const std::string_view unit = trim(body.substr(digits));
  if (unit.empty()) {
    // A number this large was meant in the smallest unit: 8388608 is 8388608B.
    const std::string_view likely = number >= 65536 ? q.units.front().name : q.example_unit;
    return bad(quoted + " has no unit; write " + std::string(body.substr(0, digits)) + std::string(likely) +
               " (known: " + known(q) + ")");
  }
  for (const Unit& u : q.units) {
    if (u.name == unit) return std::fabs(number) * u.scale;
  }
  return bad(quoted + ": unknown unit '" + std::string(unit) + "' of a " + std::string(q.name) + " (known: " + known(q) +
             ")");
}

// Rounded to the nearest whole; the largest values stay below 2^62, so that sums of a few cannot overflow.
Result<int64_t> parse_whole(std::string_view text, const Quantity& q) {
  TESSERA_ASSIGN(const double value, parse(text, q));
  if (value > 4.6e18) return bad("'" + std::string(text) + "' is too large for a " + std::string(q.name));
  return static_cast<int64_t>(std::floor(value + 0.5));
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  TESSERA_ASSIGN(const int64_t ns, parse_whole(text, {"duration", "ms", kDurations}));
  return Duration{ns};
}

Result<Bytes> parse_bytes(std::string_view text) {
  TESSERA_ASSIGN(const int64_t n, parse_whole(text, {"size", "MiB", kSizes}));
  return Bytes{n};
}

Result<BytesPerSecond> parse_bandwidth(std::string_view text) {
  TESSERA_ASSIGN(const double value, parse(text, {"bandwidth", "MB/s", kBandwidths}));
  return BytesPerSecond{value};
}

Result<double> parse_flops(std::string_view text) { return parse(text, {"compute rate", "GFLOP/s", kFlops}); }

Result<double> parse_weight_rate(std::string_view text) { return parse(text, {"decode rate", "Mweight/s", kWeights}); }

Result<double> parse_frequency(std::string_view text) { return parse(text, {"clock", "MHz", kFrequencies}); }

Result<int64_t> parse_share(std::string_view text) { return parse_whole(text, {"share", "%", kShares}); }

Result<int64_t> parse_heat(std::string_view text) { return parse_whole(text, {"heat", "K", kHeats}); }

}  // namespace tessera
