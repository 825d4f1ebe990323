// Finds figures that no machine can have, and takes them out of use loudly.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "framework/cost_model_work.h"
#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

// Beyond what exists: HBM3E stacks of one accelerator move 8 TB/s, a storage device 15 GB/s (PCIe 5 x4); a floppy 30 KB/s.
constexpr double kFastestStorage = 1e12, kFastestLink = 1e13, kSlowest = 1e3;  // bytes a second
constexpr double kMostFlops = 1e15;                                            // fp32 on one device
constexpr double kFewestFlops = 1e3;
constexpr double kLongest = 100;               // seconds of one task
constexpr Duration kNoise = microseconds(20);  // below which times fall for no reason
constexpr double kFall = 0.6;                  // of the time with fewer tokens

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", value);
  return text;
}

std::string what_of(const CostKey& key) {
  const char* op = key.op == Op::kLayer           ? "layer"
                   : key.op == Op::kAttentionPart ? "attention part"
                   : key.op == Op::kFfnPart       ? "FFN part"
                   : key.op == Op::kCombine       ? "combine"
                   : key.op == Op::kEmbed         ? "embed"
                                                  : "exit";
  std::string text = std::string(op) + " of " + std::to_string(key.tokens) + " tokens";
  if (key.slices > 0) text += ", " + std::to_string(key.slices) + " slices";
  return text + (key.decoded ? ", decoded" : "");
}

// "layer of 64 tokens: 0 ns is not above 0; ..."
class Doubts {
 public:
  explicit Doubts(DeviceFigures& figures) : figures_(figures) {}
  void add(const std::string& what, const std::string& why) {
    figures_.doubts.push_back(what + ": " + why +
                              "; not used, the backend's own estimate is. Look for a clock or driver that " +
                              "lies, then `tessera calibrate --again`");
  }

 private:
  DeviceFigures& figures_;
};

// What is wrong with a rate, or nothing.
std::string absurd_rate(double per_second, double fastest, double slowest, const char* unit) {
  if (!std::isfinite(per_second)) return "takes no time at all";
  if (per_second > fastest) return scientific(per_second) + unit + " is beyond " + scientific(fastest) + unit;
  if (per_second < slowest) return scientific(per_second) + unit + " is below " + scientific(slowest) + unit;
  return "";
}

double at(const PowerFit& fit, double bytes) { return fit.a * std::pow(bytes, fit.b) + fit.c; }

std::string absurd_fit(const PowerFit& fit, double fastest) {
  for (const double bytes : {65536.0, 1048576.0}) {
    const double seconds = at(fit, bytes);
    const std::string why = absurd_rate(seconds > 0 ? bytes / seconds : INFINITY, fastest, kSlowest, " B/s");
    if (!why.empty()) return to_string(Bytes{static_cast<int64_t>(bytes)}) + " in " + scientific(seconds) + " s: " + why;
  }
  return "";
}

void doubt_storage(DeviceFigures& figures, Doubts& doubts) {
  if (!figures.storage) return;
  const std::string why = absurd_fit(figures.storage->fit, kFastestStorage);
  if (why.empty()) return;
  doubts.add("loads", why);
  figures.storage.reset();
}

void doubt_transfers(DeviceFigures& figures, Doubts& doubts) {
  if (!figures.transfers) return;
  const auto judge = [&](std::optional<PowerFit>& fit, const char* what) {
    const std::string why = fit ? absurd_fit(*fit, kFastestLink) : "no curve fits what was measured";
    if (why.empty()) return;
    doubts.add(what, why);
    fit.reset();
  };
  judge(figures.transfers->to_device, "transfers to the device");
  judge(figures.transfers->to_host, "transfers to the host");
}

std::string absurd_point(const ModelShape& shape, const ComputePoint& point) {
  const double seconds = point.taken.estimate.mean.seconds();
  if (seconds <= 0) return to_string(point.taken.estimate.mean) + " is not above 0";
  if (seconds > kLongest) return to_string(point.taken.estimate.mean) + " is beyond " + scientific(kLongest) + " s";
  const std::string why =
      absurd_rate(2 * multiply_adds(shape, point.key) / seconds, kMostFlops, kFewestFlops, " operations/s");
  return why.empty() ? why : to_string(point.taken.estimate.mean) + ": " + why;
}

bool same_kind(const CostKey& a, const CostKey& b) {
  return a.op == b.op && a.slices == b.slices && a.decoded == b.decoded && a.bits == b.bits;
}

// More tokens in much less time, beyond what either interval allows.
bool falls(const ComputePoint& few, const ComputePoint& many) {
  if (!same_kind(few.key, many.key) || few.key.tokens >= many.key.tokens) return false;
  const double low = few.taken.estimate.mean.seconds() * (1 - std::min(few.taken.half_width, 0.9));
  const double high = many.taken.estimate.mean.seconds() * (1 + many.taken.half_width);
  return high < kFall * low && low - high > kNoise.seconds();
}

void doubt_points(const ModelShape& shape, DeviceFigures& figures, Doubts& doubts) {
  const size_t before = figures.points.size();
  std::erase_if(figures.points, [&](const ComputePoint& point) {
    const std::string why = absurd_point(shape, point);
    if (!why.empty()) doubts.add(what_of(point.key), why);
    return !why.empty();
  });
  std::vector<bool> bad(figures.points.size());
  for (size_t i = 0; i < bad.size(); ++i)
    for (size_t j = 0; j < bad.size(); ++j) {
      const ComputePoint &few = figures.points[i], &many = figures.points[j];
      if (!falls(few, many)) continue;
      if (!bad[i] || !bad[j])
        doubts.add(what_of(few.key), to_string(few.taken.estimate.mean) + ", but " + std::to_string(many.key.tokens) +
                                         " tokens take " + to_string(many.taken.estimate.mean));
      bad[i] = bad[j] = true;
    }
  size_t at = 0;
  std::erase_if(figures.points, [&](const ComputePoint&) { return bad[at++]; });
  if (before > 0 && 2 * figures.points.size() < before && !figures.points.empty()) {
    doubts.add("all computes",
               std::to_string(before - figures.points.size()) + " of " + std::to_string(before) + " figures cannot be");
    figures.points.clear();
  }
}

}  // namespace

void doubt_absurd(const ModelShape& shape, DeviceFigures& figures) {
  Doubts doubts(figures);
  doubt_storage(figures, doubts);
  doubt_transfers(figures, doubts);
  doubt_points(shape, figures, doubts);
}

}  // namespace tessera::calibration
