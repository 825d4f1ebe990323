// Reads quantities with their units ("20ms", "8 MiB", "83 MB/s"); a bare number is refused with the unit it lacks.
#pragma once

#include <string_view>

#include "framework/result.h"
#include "framework/units.h"

namespace tessera {

// A number, optional blanks, a unit. Never negative, never NaN or infinite. Errors are kInvalid, in one line, and quote the
// text: "'20' has no unit; write 20ms (known: ns, us, ms, s, min)".
Result<Duration> parse_duration(std::string_view text);         // ns, us, ms, s, min
Result<Bytes> parse_bytes(std::string_view text);               // B, kB, MB, GB, TB, KiB, MiB, GiB, TiB
Result<BytesPerSecond> parse_bandwidth(std::string_view text);  // the same, per second: "83 MB/s"
// Operations a second, for compute devices: "60 GFLOP/s", "900 Mweight/s" (decoded weights).
Result<double> parse_flops(std::string_view text);
Result<double> parse_weight_rate(std::string_view text);
Result<double> parse_frequency(std::string_view text);  // of a clock, in Hz: "300 MHz"
Result<int64_t> parse_share(std::string_view text);     // in ppm: "50 %"
Result<int64_t> parse_heat(std::string_view text);      // above the surroundings, in microkelvin: "30 K"

}  // namespace tessera
