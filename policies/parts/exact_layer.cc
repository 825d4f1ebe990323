// Finds, for each histogram of a layer, the assignment of least loss, and what it takes.
#include "policies/parts/exact_layer.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <unordered_map>

namespace tessera {
namespace {

constexpr int64_t kNone = INT64_MAX / 4;  // no assignment has this histogram

ShardId shard(int layer, int slice) { return {static_cast<int16_t>(layer), static_cast<int16_t>(slice)}; }

// Whether the plan may compute with what is held, on any of the request's devices.
bool usable(const PlanningView& view, const ResidentShard& held) {
  return std::any_of(view.compute_devices.begin(), view.compute_devices.end(),
                     [&](DeviceId device) { return serves(view.platform, device, held); });
}

// Whether a slice can be of a class: at the bits at which it is held it is never loaded.
bool can_be(const OptionSource& source, ShardId id, const SliceClass& what) {
  const ResidentShard* held = source.residency.find(id);
  const bool as_held = held != nullptr && held->bits == what.bits && usable(source.view, *held);
  return what.resident ? as_held && held->decoded == what.decoded : !as_held;
}

}  // namespace

std::shared_ptr<const Histograms> Histograms::make(const std::vector<int>& capacity, int slices, size_t most) {
  const int classes = static_cast<int>(capacity.size()), width = std::bit_width(static_cast<unsigned>(slices));
  if (classes < 1 || classes * width > 63) return nullptr;  // the counts make a key
  auto out = std::make_shared<Histograms>();
  out->classes_ = classes;
  const uint64_t mask = (uint64_t{1} << width) - 1;
  std::unordered_map<uint64_t, int32_t> index;
  std::vector<uint64_t> keys{0};
  for (int sum = 0; sum <= slices; ++sum) {
    std::vector<uint64_t> next;
    if (out->sums_.size() + keys.size() > most) return nullptr;
    for (const uint64_t key : keys) {
      index.emplace(key, static_cast<int32_t>(out->sums_.size()));
      out->sums_.push_back(static_cast<uint8_t>(sum));
      int last = 0;  // counts are raised at or after the last class that has any, so that each vector comes once
      for (int c = 0; c < classes; ++c) {
        const uint64_t count = key >> (width * c) & mask;
        out->counts_.push_back(static_cast<uint8_t>(count));
        out->less_.push_back(count == 0 ? -1 : index.at(key - (uint64_t{1} << (width * c))));
        if (count != 0) last = c;
      }
      for (int c = last; c < classes; ++c)
        if (static_cast<int>(key >> (width * c) & mask) < capacity[static_cast<size_t>(c)])
          next.push_back(key + (uint64_t{1} << (width * c)));
    }
    keys = std::move(next);
  }
  return out;
}

std::vector<int> ExactLayer::capacity_of(const OptionSource& source, int layer, const std::vector<SliceClass>& classes) {
  std::vector<int> out(classes.size(), 0);
  for (int j = 0; j < source.view.shape.slices; ++j)
    for (size_t c = 0; c < classes.size(); ++c) out[c] += can_be(source, shard(layer, j), classes[c]);
  return out;
}

std::vector<SliceClass> ExactLayer::classes_of(const OptionSource& source, int layer) {
  std::vector<SliceClass> out;
  for (const Bits bits : source.ladder) out.push_back({bits, false, false});
  for (const ResidentShard& held : source.residency.shards) {
    if (held.id.layer != layer || !usable(source.view, held)) continue;
    const SliceClass as_held{held.bits, true, held.decoded};
    const bool allowed = std::find(source.ladder.begin(), source.ladder.end(), held.bits) != source.ladder.end();
    if (allowed && std::find(out.begin(), out.end(), as_held) == out.end()) out.push_back(as_held);
  }
  return out;
}

ExactLayer::ExactLayer(const OptionSource& source, int layer, std::vector<SliceClass> classes,
                       std::shared_ptr<const Histograms> histograms, const ExactLayer* before)
    : layer_(layer),
      slices_(source.view.shape.slices),
      prefixes_(source.accuracy.prefixes_only),
      classes_(std::move(classes)),
      histograms_(std::move(histograms)) {
  weigh(source);
  assign(source);
  if (before != nullptr && before->classes_ == classes_ && before->histograms_ == histograms_)
    works_ = before->works_;
  else
    price(source);
  list(source);
}

// Which classes each slice can be of, the bytes of each class and what it takes to load them.
void ExactLayer::weigh(const OptionSource& source) {
  const size_t classes = classes_.size();
  class_at_.assign(static_cast<size_t>(slices_) * classes, 0);
  bytes_.assign(classes, {0});
  io_.assign(classes, {0});
  std::vector<std::vector<int64_t>> each(classes);
  for (int j = 0; j < slices_; ++j) {
    const ShardId id = shard(layer_, j);
    for (size_t c = 0; c < classes; ++c) {
      if (!can_be(source, id, classes_[c])) continue;
      class_at_[static_cast<size_t>(j) * classes + c] = 1;
      const ResidentShard* held = classes_[c].resident ? source.residency.find(id) : nullptr;
      each[c].push_back(held != nullptr ? held->bytes.n : source.view.shape.bytes_of(id, classes_[c].bits).n);
    }
  }
  for (size_t c = 0; c < classes; ++c) {
    std::sort(each[c].begin(), each[c].end());
    for (const int64_t b : each[c]) {
      const int n = static_cast<int>(bytes_[c].size());
      bytes_[c].push_back(bytes_[c].back() + b);
      io_[c].push_back(classes_[c].resident
                           ? 0
                           : source.times.load(classes_[c].bits, n, bytes_[c].back(), each[c].front(), each[c].back()));
    }
  }
}

// Slice by slice: f[v] is the least loss of the slices so far with v of them present. O(M * histograms * classes).
void ExactLayer::assign(const OptionSource& source) {
  const size_t all = histograms_->size(), classes = classes_.size();
  loss_.assign(all, kNone);
  loss_[0] = 0;
  choice_.assign(all * (prefixes_ ? 1 : static_cast<size_t>(slices_)), 0);
  size_t end = 1;  // vectors with a sum of at most j + 1 lie before it
  for (int j = 0; j < slices_; ++j) {
    while (end < all && histograms_->sum(end) <= j + 1) ++end;
    std::vector<int64_t> added(classes, kNone);
    for (size_t c = 0; c < classes; ++c)
      if (class_at_[static_cast<size_t>(j) * classes + c] == 1)
        added[c] = source.accuracy.loss_delta(shard(layer_, j), classes_[c].bits).n;
    const int64_t absent = source.accuracy.loss_delta(shard(layer_, j), kAbsent).n;
    uint8_t* const choice = choice_.data() + (prefixes_ ? 0 : static_cast<size_t>(j) * all);
    for (size_t v = end; v-- > 0;) {  // downwards: what is read has not been written in this round
      if (prefixes_ && histograms_->sum(v) != j + 1) {
        if (histograms_->sum(v) <= j) break;
        continue;
      }
      int64_t best = prefixes_ ? kNone : std::min(kNone, loss_[v] + absent);
      uint8_t taken = 0;
      for (size_t c = 0; c < classes; ++c) {
        const int32_t from = histograms_->less(v, static_cast<int>(c));
        if (from < 0 || added[c] >= kNone || loss_[static_cast<size_t>(from)] >= kNone) continue;
        const int64_t loss = loss_[static_cast<size_t>(from)] + added[c];
        if (loss >= best) continue;
        best = loss;
        taken = static_cast<uint8_t>(c + 1);
      }
      loss_[v] = best;
      choice[v] = taken;
    }
  }
  if (prefixes_) charge_absent(source);
}

// Where only prefixes are listed, each histogram has lost the slices behind it.
void ExactLayer::charge_absent(const OptionSource& source) {
  std::vector<int64_t> absent(static_cast<size_t>(slices_) + 1, 0);  // [m]: of all slices from m on
  for (int j = slices_; j-- > 0;)
    absent[static_cast<size_t>(j)] =
        absent[static_cast<size_t>(j) + 1] + source.accuracy.loss_delta(shard(layer_, j), kAbsent).n;
  for (size_t v = 0; v < loss_.size(); ++v)
    if (loss_[v] < kNone) loss_[v] += absent[static_cast<size_t>(histograms_->sum(v))];
}

void ExactLayer::price(const OptionSource& source) {
  auto out = std::make_shared<std::vector<LayerTime>>(histograms_->size());
  for (size_t v = 0; v < out->size(); ++v) {
    const int sum = histograms_->sum(v);
    if (std::find(source.widths.begin(), source.widths.end(), sum) == source.widths.end()) continue;
    (*out)[v] = work(source, v);
  }
  works_ = std::move(out);
}

LayerTime ExactLayer::work(const OptionSource& source, size_t v) const {
  BitsHistogram bits{};
  bool decoded = true, some_decoded = false;
  for (size_t c = 0; c < classes_.size(); ++c) {
    const int n = histograms_->count(v, static_cast<int>(c));
    if (n == 0) continue;
    const int level = bits_level(classes_[c].bits);
    bits[level] = static_cast<uint8_t>(bits[level] + n);
    decoded = decoded && classes_[c].decoded;
    some_decoded = some_decoded || classes_[c].decoded;
  }
  return source.times.layer(bits, decoded, some_decoded);
}

void ExactLayer::list(const OptionSource& source) {
  for (size_t v = 1; v < histograms_->size(); ++v) {
    const int sum = histograms_->sum(v);
    if (loss_[v] >= kNone || std::find(source.widths.begin(), source.widths.end(), sum) == source.widths.end()) continue;
    LayerOption option;
    option.compute = (*works_)[v].compute;
    option.tail = (*works_)[v].tail;
    option.loss = loss_[v];
    option.count = sum;
    option.histogram = static_cast<uint32_t>(v);
    for (size_t c = 0; c < classes_.size(); ++c) {  // as many slices can be of the class: it has an assignment
      const auto n = static_cast<size_t>(histograms_->count(v, static_cast<int>(c)));
      option.io += io_[c][n];
      option.bytes += bytes_[c][n];
      option.held += classes_[c].resident ? bytes_[c][n] : 0;
    }
    if (option.compute >= kNone || option.bytes > source.room) continue;
    if (!source.weighs) option.bytes = option.held = 0;
    options_.push_back(option);
  }
  leave_out_dominated(options_);
}

std::vector<Bits> ExactLayer::bits_of(const LayerOption& option) const {
  std::vector<Bits> out(static_cast<size_t>(slices_), kAbsent);
  size_t v = option.histogram;
  for (int j = (prefixes_ ? histograms_->sum(v) : slices_); j-- > 0;) {
    const uint8_t taken = choice_[(prefixes_ ? 0 : static_cast<size_t>(j) * histograms_->size()) + v];
    if (taken == 0) continue;
    out[static_cast<size_t>(j)] = classes_[taken - 1].bits;
    v = static_cast<size_t>(histograms_->less(v, taken - 1));
  }
  return out;
}

namespace {

bool at_least_as_good(const LayerOption& a, const LayerOption& b) {
  return a.io <= b.io && a.compute <= b.compute && a.tail <= b.tail && a.bytes <= b.bytes && a.held <= b.held;
}

}  // namespace

// Sorted by loss, an option can only be dominated by one before it. Options of equal compute are many, and mostly settled by
// the one of them with the least storage time so far.
void leave_out_dominated(std::vector<LayerOption>& options) {
  std::sort(options.begin(), options.end(), [](const LayerOption& a, const LayerOption& b) {
    return std::tie(a.count, a.loss, a.io, a.compute, a.tail, a.bytes, a.held, a.histogram) <
           std::tie(b.count, b.loss, b.io, b.compute, b.tail, b.bytes, b.held, b.histogram);
  });
  std::vector<LayerOption> kept;
  size_t first = 0;  // of this width
  for (const LayerOption& option : options) {
    if (!kept.empty() && kept.back().count != option.count) first = kept.size();
    bool dominated = false;
    for (size_t i = kept.size(); i-- > first && !dominated;) dominated = at_least_as_good(kept[i], option);
    if (!dominated) kept.push_back(option);
  }
  options = std::move(kept);
}

}  // namespace tessera
