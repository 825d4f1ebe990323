// Checks what devices say that tasks cost, and that cost models learn from a fake whose times are scripted.
#include <cmath>

#include "framework/cost_model.h"
#include "tests/conformance/contract_checks.h"
#include "tests/conformance/keys.h"

namespace tessera::conformance {
namespace {

void expect_sane(Finding& f, const Estimate& e, const std::string& what) {
  f.expect(e.mean >= Duration{} && e.mean < kForever, what + ": mean " + to_string(e.mean));
  f.expect(e.p95 >= e.mean && e.p95 < kForever, what + ": p95 below the mean, or endless");
  f.expect(std::isfinite(e.variance_ns2) && e.variance_ns2 >= 0, what + ": variance");
  f.expect(std::isfinite(e.energy.value) && e.energy.value >= 0, what + ": energy");
  f.expect(e.samples >= 0, what + ": negative samples");
  f.expect(e.workspace.n >= 0, what + ": negative workspace");
}

// Estimates of a device as points of a table, as calibration would measure them.
std::vector<CostPoint> points_of(const Subject& s, const ModelShape& shape) {
  std::vector<CostPoint> points;
  for (const int tokens : {8, 32, 128})
    for (const int slices : {1, 4})
      for (const Bits bits : {Bits{2}, Bits{6}, kExact}) {
        CostPoint p;
        p.key = key_of(Op::kLayer, tokens, slices, bits, false);
        if (!s.backend->supports(s.device, p.key, shape).yes) continue;
        p.estimate = s.backend->estimate(s.device, p.key, shape);
        p.estimate.mean = std::max(p.estimate.mean, Duration{1000});
        p.estimate.p95 = std::max(p.estimate.p95, p.estimate.mean);
        points.push_back(p);
      }
  return points;
}

// The time that the script says a task took: `factor` of what was expected, a few percent about it.
Duration scripted(Duration expected, double factor, int round) {
  return from_seconds(expected.seconds() * factor * (1 + 0.03 * std::sin(round)));
}

}  // namespace

Finding estimates_sanely(const Subject& s) {
  Finding f;
  const ModelShape shape = some_shape();
  for_all_keys([&](Op op, Bits bits, int slices, bool decoded) {
    Estimate before;
    for (const int tokens : {1, 7, 8, 9, 64, 128, 512}) {
      const CostKey key = key_of(op, tokens, slices, bits, decoded);
      if (!s.backend->supports(s.device, key, shape).yes) return;
      const Estimate e = s.backend->estimate(s.device, key, shape);
      expect_sane(f, e, text_of(key));
      f.expect(e.mean >= before.mean, text_of(key) + ": mean " + to_string(e.mean) + " falls as tokens grow");
      f.expect(e.workspace >= before.workspace, text_of(key) + ": workspace " + to_string(e.workspace) + " falls from " +
                                                    to_string(before.workspace) + " as tokens grow");
      const Estimate again = s.backend->estimate(s.device, key, shape);
      f.expect(again.mean == e.mean && again.p95 == e.p95 && again.workspace == e.workspace,
               text_of(key) + ": another estimate the second time");
      before = e;
    }
    const Estimate few = s.backend->estimate(s.device, key_of(op, 64, 1, bits, decoded), shape);
    const Estimate many = s.backend->estimate(s.device, key_of(op, 64, 4, bits, decoded), shape);
    f.expect(few.mean <= many.mean, "op " + std::to_string(static_cast<int>(op)) + ": fewer slices take longer");
  });
  return f;
}

Finding estimates_moves_sanely(const Subject& s) {
  Finding f;
  const ModelShape shape = some_shape();
  int asked = 0;
  for (const Op op : {Op::kTransfer, Op::kLoadShards, Op::kLoadRows, Op::kLoadExit})
    for (const bool to_host : {false, true}) {
      Duration before;
      for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{1} << 20, int64_t{1} << 28}) {
        CostKey key = key_of(op, 0, 0, kAbsent, false);
        key.to_host = to_host;
        key.bytes = bytes;
        if (!s.backend->supports(s.device, key, shape).yes) continue;
        const Estimate e = s.backend->estimate(s.device, key, shape);
        expect_sane(f, e, std::to_string(bytes) + " bytes");
        f.expect(e.mean >= before,
                 std::to_string(bytes) + " bytes: " + to_string(e.mean) + ", fewer take " + to_string(before));
        before = e.mean;
        ++asked;
      }
    }
  if (asked == 0) f.skipped = s.description.name + " moves nothing";
  return f;
}

// Calibration's model over the device's own estimates learns what a scripted fake takes, whatever a few samples say.
Finding cost_models_learn(const Subject& s) {
  Finding f;
  const ModelShape shape = some_shape();
  const std::vector<CostPoint> points = points_of(s, shape);
  if (points.empty()) {
    f.skipped = s.description.name + " computes no layers";
    return f;
  }
  for (const double factor : {0.25, 1.0, 3.0}) {
    const auto model = make_table(shape, points);
    for (const CostPoint& p : points)
      for (int round = 0; round < 60; ++round) {
        const Duration expected = p.estimate.mean;
        f.expect(!model->observe(p.key, Duration{}) && !model->observe(p.key, Duration{-5}), "learned from no time at all");
        model->observe(p.key, round % 10 == 9 ? expected * 90 : scripted(expected, factor, round));
      }
    for (const CostPoint& p : points) {
      const Estimate e = model->estimate(p.key);
      expect_sane(f, e, text_of(p.key));
      const double want = p.estimate.mean.seconds() * factor;
      f.expect(std::fabs(e.mean.seconds() - want) <= 0.1 * want + 1e-9,
               text_of(p.key) + ": learned " + to_string(e.mean) + ", the script says " + to_string(from_seconds(want)));
    }
  }
  return f;
}

}  // namespace tessera::conformance
