// Lists tiles worth trying, and reads and writes the one that was measured best.
#include "backends/opencl/tuning.h"

#include <algorithm>
#include <sstream>

namespace tessera::opencl {
namespace {

constexpr const char* kFormat = "tessera-opencl 1";

// lanes, panels, rows, depth, stage. CPUs: a work-item is a core's inner loop, its 16 columns a vector or two, so few of
// them with many rows; GPUs: lanes make a warp, rows are staged, a few registers each.
constexpr Tile kCpuFew[] = {{4, 4, 8, 64, 0}, {8, 2, 8, 64, 0}};
constexpr Tile kCpuMany[] = {{16, 2, 8, 64, 0}, {8, 2, 8, 64, 0}};
constexpr Tile kGpuFew[] = {{8, 4, 2, 32, 1}, {16, 4, 1, 32, 1}, {32, 2, 1, 32, 1}, {8, 4, 4, 32, 1}};
constexpr Tile kGpuMany[] = {{16, 4, 4, 32, 1}, {32, 4, 2, 32, 1}, {32, 4, 4, 16, 1}, {16, 8, 4, 32, 1}};
constexpr Tile kSmallest = {1, 1, 1, 16, 0};  // 2.1 KiB: less than any device of the full profile has (32 KiB)

bool sane(const Tile& t) {
  const auto within = [](int n, int low, int high) { return n >= low && n <= high; };
  return within(t.lanes, 1, 256) && within(t.panels, 1, 64) && within(t.depth, 1, 1024) && within(t.stage, 0, 1) &&
         (t.rows == 1 || t.rows == 2 || t.rows == 4 || t.rows == 8);
}

std::istream& operator>>(std::istream& in, Tile& t) { return in >> t.lanes >> t.panels >> t.rows >> t.depth >> t.stage; }
std::ostream& operator<<(std::ostream& out, const Tile& t) {
  return out << t.lanes << ' ' << t.panels << ' ' << t.rows << ' ' << t.depth << ' ' << t.stage;
}

}  // namespace

// kernels/multiply.cl: the tile, a dictionary of 256 entries a panel, the cursors, the staged rows.
int64_t local_bytes(const Tile& t) {
  const int64_t staged = t.stage != 0 ? int64_t{4} * t.depth * (t.lanes * t.rows + 4) : 0;
  return int64_t{64} * t.depth * t.panels + int64_t{1024} * t.panels + int64_t{8} * t.panels + staged;
}

bool fits(const Tile& t, const DeviceFacts& device) {
  return sane(t) && static_cast<size_t>(t.lanes) * t.panels <= device.group_limit && local_bytes(t) <= device.local_bytes;
}

std::vector<Tile> candidates(const DeviceFacts& device, bool few) {
  std::vector<Tile> all;
  if (device.is_cpu()) {
    few ? all.assign(std::begin(kCpuFew), std::end(kCpuFew)) : all.assign(std::begin(kCpuMany), std::end(kCpuMany));
  } else {
    few ? all.assign(std::begin(kGpuFew), std::end(kGpuFew)) : all.assign(std::begin(kGpuMany), std::end(kGpuMany));
  }
  std::erase_if(all, [&](const Tile& t) { return !fits(t, device); });
  if (all.empty()) all.push_back(kSmallest);
  return all;
}

Tuning default_tuning(const DeviceFacts& device) {
  return {candidates(device, true).front(), candidates(device, false).front()};
}

std::string to_text(const Tuning& tuning) {
  std::ostringstream out;
  out << kFormat << " | few " << tuning.few << " | many " << tuning.many;
  return out.str();
}

Result<Tuning> from_text(std::string_view text, const DeviceFacts& device) {
  Tuning tuning;
  std::istringstream in{std::string(text)};
  std::string name, version, bar, few, second_bar, many;
  in >> name >> version >> bar >> few >> tuning.few >> second_bar >> many >> tuning.many;
  const bool read = !in.fail() && (in >> std::ws).eof() && name + " " + version == kFormat && bar == "|" && few == "few" &&
                    second_bar == "|" && many == "many";
  if (!read)
    return Error{ErrorCode::kInvalid, "tuning '" + std::string(text.substr(0, 80)) + "' is not '" + kFormat +
                                          " | few 5 numbers | many 5 numbers'; calibrate again"};
  if (!fits(tuning.few, device) || !fits(tuning.many, device))
    return Error{ErrorCode::kInvalid, "tuning '" + std::string(text) + "' does not fit " + device.name + " (" +
                                          std::to_string(device.group_limit) + " work-items, " +
                                          to_string(Bytes{device.local_bytes}) + " of local memory); calibrate again"};
  return tuning;
}

}  // namespace tessera::opencl
