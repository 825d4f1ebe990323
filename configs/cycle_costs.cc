// Turns tasks into the kernels' cycles, and cycles into time at the card's clock.
#include "configs/cycle_costs.h"

#include <algorithm>
#include <cmath>

#include "hls/cycles/layer_cycles.h"

namespace tessera::configs {
namespace {

using hls::CardUnits;
using hls::LayerWork;

struct Card {
  double hertz = 0;
  CardUnits units;
  bool fixed = false;  // the kernels' fixed-point instances
};

// The kernels' own model of one instance of them.
template <typename Tag>
double cycles_of(Op op, const CardUnits& units, const LayerWork& work) {
  switch (op) {
    case Op::kLayer:
      return hls::layer_cycles<Tag>(units, work);
    case Op::kAttentionPart:
      return hls::attention_part_cycles<Tag>(units, work);
    case Op::kFfnPart:
      return hls::ffn_part_cycles<Tag>(units, work);
    default:
      return hls::combine_cycles(units, work, 2);
  }
}

class CycleModel final : public CostModel {
 public:
  CycleModel(const ModelShape& shape, const Card& card) : shape_(shape), card_(card) {}
  std::string_view kind() const override { return "cycles"; }
  bool observe(const CostKey&, Duration) override { return false; }

  Estimate estimate(const CostKey& key) const override {
    Estimate e;
    double cycles = 0;
    if (key.op == Op::kEmbed || key.op == Op::kExit) {
      cycles = as_if_by_kernels(key);
      e.provenance = Provenance::kGuessed;
    } else if (key.op == Op::kLayer || key.op == Op::kAttentionPart || key.op == Op::kFfnPart || key.op == Op::kCombine) {
      cycles = over_bits(key);
      e.provenance = Provenance::kAnalytic;
    }
    e.mean = e.p95 = {static_cast<int64_t>(std::floor(std::min(cycles / card_.hertz, 4e9) * 1e9 + 0.5))};
    return e;
  }

 private:
  double cycles(Op op, const LayerWork& work) const {
    return card_.fixed ? cycles_of<hls::Fixed16>(op, card_.units, work) : cycles_of<hls::Real>(op, card_.units, work);
  }
  LayerWork work_of(const CostKey& key, Bits bits) const {
    LayerWork w;
    w.batch = std::max<uint64_t>(key.batch, 1);
    w.tokens = std::max<uint64_t>(key.tokens, 1);
    w.slices = key.slices;
    w.hidden = static_cast<uint64_t>(shape_.hidden);
    w.head_width = static_cast<uint64_t>(shape_.head_width());
    w.share = static_cast<uint64_t>(shape_.ffn_share());
    w.bits = bits;
    w.element_bytes = key.decoded ? 4 : static_cast<uint64_t>(shape_.stored_exact_bits) / 8;
    return w;
  }
  // Slices of several bitwidths: each counts by its share of them.
  double over_bits(const CostKey& key) const {
    double sum = 0;
    int slices = 0;
    for (int level = 1; level < kBitsLevels; ++level) {
      if (key.bits[level] == 0) continue;
      slices += key.bits[level];
      sum += key.bits[level] * cycles(key.op, work_of(key, key.decoded ? kExact : level_bits(level)));
    }
    return slices > 0 ? sum / slices : cycles(key.op, work_of(key, kExact));
  }
  // No kernel embeds or runs exit heads: what the norm and the product would take.
  double as_if_by_kernels(const CostKey& key) const {
    const LayerWork w = work_of(key, kExact);
    if (key.op == Op::kEmbed) return cycles(Op::kCombine, w);
    const uint64_t labels = static_cast<uint64_t>(std::max(shape_.labels, 1));
    const auto product = [&](uint64_t out) {
      const hls::mm::MatmulCall call{w.batch, w.hidden, out, kExact, w.element_bytes, 0, false};
      return card_.fixed ? hls::mm::matmul_cost<hls::Fixed16>(call) : hls::mm::matmul_cost<hls::Real>(call);
    };
    return static_cast<double>(product(w.hidden).cycles + product(labels).cycles + 2 * card_.units.stage_cycles);
  }

  const ModelShape shape_;
  const Card card_;
};

Status check_shape(TomlTable& file, const ModelShape& shape) {
  LayerWork w;
  w.hidden = static_cast<uint64_t>(shape.hidden);
  w.head_width = static_cast<uint64_t>(shape.head_width());
  w.share = static_cast<uint64_t>(shape.ffn_share());
  if (hls::fits(w)) return {};
  return file.error("clock", "the kernels hold rows of " + std::to_string(hls::kMostIn) + " and heads of " +
                                 std::to_string(hls::kMostHeadWidth) + "; the model has hidden " +
                                 std::to_string(shape.hidden) + ", heads of " + std::to_string(shape.head_width()) +
                                 " and " + std::to_string(shape.ffn_share()) + " of the FFN a slice");
}

}  // namespace

Result<std::unique_ptr<CostModel>> cycle_costs(TomlTable& file, const ModelShape& shape) {
  Card card;
  TESSERA_ASSIGN(card.hertz, file.frequency("clock", 0));
  if (!(card.hertz > 0)) return file.error("clock", "cycles need the card's clock, as in \"300 MHz\"");
  TESSERA_ASSIGN(const int64_t units, file.integer("matmul_units", 1, hls::kMostUnits));
  card.units.matmul_units = static_cast<uint64_t>(units);
  TESSERA_ASSIGN(const std::string element, file.text("element"));
  if (element != "fp32" && element != "fixed16")
    return file.error("element", "unknown element '" + element + "'; known: fp32, fixed16");
  card.fixed = element == "fixed16";
  TESSERA_ASSIGN(const BytesPerSecond bandwidth, file.bandwidth("bandwidth", {0}));
  card.units.bytes_per_cycle = bandwidth.value / card.hertz;
  TESSERA_ASSIGN(const Duration stage, file.duration("per_stage", {0}));
  card.units.stage_cycles = static_cast<uint64_t>(std::llround(std::min(stage.seconds(), 1e3) * card.hertz));
  TESSERA_TRY(check_shape(file, shape));
  return std::unique_ptr<CostModel>(std::make_unique<CycleModel>(shape, card));
}

}  // namespace tessera::configs
