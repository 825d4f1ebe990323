// Climbs the dual, one size class after the other; each step is evaluated in integers and so is a bound.
#include "policies/parts/exact_wide.h"

#include <algorithm>
#include <cmath>

#include "policies/parts/exact_model.h"

namespace tessera {
namespace {

__extension__ typedef __int128 Wide;
constexpr int kSteps = 80;  // of a class
constexpr int kShift = 30;  // prices are integers of 2^-30 micro-nats a nanosecond
constexpr double kMostPrice = 4e15;

struct Offer {
  int64_t loss = 0, io = 0;  // micro-nats, ns
};

// What does not depend on prices.
struct Slices {
  std::vector<std::vector<Offer>> offers;  // [L * M]: a slice's bits
  std::vector<int64_t> absent;             // [L * M]: micro-nats
  std::vector<int64_t> compute;            // [M + 1]: ns of a layer, at least
};

class WideDual {
 public:
  WideDual(const PlanningView& view, const Residency& residency, const AccuracyModel& accuracy, const Choices& choices,
           ExactTimes& times)
      : view_(view), accuracy_(accuracy), choices_(choices) {
    start_ = times.rows();
    embed_ = times.embed();
    ends_ = std::min<int64_t>(view.budgets.latency.ns, int64_t{1} << 60) - times.exit();
    read(residency, times);
  }

  // Of a class; `known` ends the climb.
  int64_t bound(const SizeClass& size, int64_t known) {
    const auto depth = static_cast<size_t>(size.depth);
    prices_.resize(depth + 1, 0);
    std::vector<double> slope(depth + 1);
    int64_t best = INT64_MIN;
    double step = 1;
    int worse = 0;
    for (int i = 0; i < kSteps && best < known; ++i) {
      const Wide sum = evaluate(size.depth, slope);
      const auto whole =
          static_cast<int64_t>(std::clamp<Wide>((sum + (Wide{1} << kShift) - 1) >> kShift, -(Wide{1} << 60), Wide{1} << 60));
      const int64_t loss = size.loss(whole);
      worse = loss > best ? 0 : worse + 1;
      best = std::max(best, loss);
      if (worse == 5) step /= 2, worse = 0;
      climb(slope, step * static_cast<double>(std::max<int64_t>(1, size.most_sum(known) - whole)));
    }
    return best;
  }

 private:
  void read(const Residency& residency, ExactTimes& times) {
    const ModelShape& shape = view_.shape;
    bool decoded = false;
    for (const ResidentShard& held : residency.shards) decoded = decoded || held.decoded;
    std::vector<int64_t> share;  // [ladder]
    for (const Bits bits : choices_.ladder) share.push_back(least_share(bits, times));
    for (int l = 0; l < choices_.depths.back(); ++l)
      for (int j = 0; j < shape.slices; ++j) {
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        const ResidentShard* held = residency.find(id);
        if (held != nullptr && !serves(view_.platform, choices_.device, *held)) held = nullptr;
        all_.absent.push_back(accuracy_.loss_delta(id, kAbsent).n);
        std::vector<Offer>& offers = all_.offers.emplace_back();
        for (size_t b = 0; b < choices_.ladder.size(); ++b) {
          const bool is_held = held != nullptr && held->bits == choices_.ladder[b];
          offers.push_back({accuracy_.loss_delta(id, choices_.ladder[b]).n, is_held ? 0 : share[b]});
        }
      }
    all_.compute.assign(static_cast<size_t>(shape.slices) + 1, kForever.ns);
    for (const int m : choices_.widths)
      for (const Bits bits : choices_.ladder) {
        BitsHistogram all{};
        all[bits_level(bits)] = static_cast<uint8_t>(m);
        int64_t& least = all_.compute[static_cast<size_t>(m)];
        least = std::min(least, times.layer(all, false, false).compute);
        if (decoded) least = std::min(least, times.layer(all, true, true).compute);
      }
  }

  // Of a slice's load, however many are read together.
  int64_t least_share(Bits bits, ExactTimes& times) const {
    const ModelShape& shape = view_.shape;
    int64_t least = INT64_MAX, most = 0, share = INT64_MAX;
    for (int l = 0; l < shape.layers; ++l)
      for (int j = 0; j < shape.slices; ++j) {
        const int64_t bytes = shape.bytes_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}, bits).n;
        least = std::min(least, bytes);
        most = std::max(most, bytes);
      }
    for (int n = 1; n <= shape.slices; ++n) share = std::min(share, times.load(bits, n, n * least, least, most) / n);
    return share;
  }

  // The least over all allocations at prices_: [0] of the chain of computes, [l + 1] of layer l's loads. What of their
  // constraints it breaks, in shares of the time there is: `slope`.
  Wide evaluate(int depth, std::vector<double>& slope) {
    int64_t io_price = 0, before = prices_[0];
    for (int l = 0; l < depth; ++l) io_price += prices_[static_cast<size_t>(l) + 1];
    Wide sum = -Wide{prices_[0]} * (ends_ - start_ - embed_) - Wide{io_price} * (ends_ - start_);
    std::vector<Offer> taken;  // (io, compute) of each layer
    for (int l = 0; l < depth; ++l) {
      const int64_t here = prices_[static_cast<size_t>(l) + 1];
      Offer takes;
      sum += layer(l, io_price, before + here, takes);  // one device: the tail is the compute
      taken.push_back(takes);
      io_price -= here;
      before += here;
    }
    int64_t computes = 0, io = 0;
    for (const Offer& takes : taken) computes += takes.loss;
    const auto unit = static_cast<double>(std::max<int64_t>(1, ends_));
    slope[0] = static_cast<double>(start_ + embed_ + computes - ends_) / unit;
    for (size_t l = 0; l < taken.size(); ++l) {
      io += taken[l].io;
      slope[l + 1] = static_cast<double>(start_ + io + computes - ends_) / unit;
      computes -= taken[l].loss;
    }
    return sum;
  }

  // In 2^-30 micro-nats. `takes`: io, and compute in the place of the loss.
  Wide layer(int l, int64_t io_price, int64_t compute_price, Offer& takes) {
    const auto slices = static_cast<size_t>(view_.shape.slices), first = static_cast<size_t>(l) * slices;
    Wide sum = 0;
    ranks_.clear();
    for (size_t j = 0; j < slices; ++j) {
      Rank rank;
      for (const Offer& offer : all_.offers[first + j]) {
        const Wide value = (Wide{offer.loss} << kShift) + Wide{io_price} * offer.io;
        if (rank.io >= 0 && value >= rank.more) continue;
        rank = {value, offer.io};
      }
      const Wide absent = Wide{all_.absent[first + j]} << kShift;
      rank.more -= absent;
      sum += absent;
      ranks_.push_back(rank);
    }
    if (!accuracy_.prefixes_only)
      std::sort(ranks_.begin(), ranks_.end(), [](const Rank& a, const Rank& b) { return a.more < b.more; });
    std::optional<Wide> best;
    int64_t io = 0;
    for (size_t m = 1; m <= slices; ++m) {
      sum += ranks_[m - 1].more;
      io += ranks_[m - 1].io;
      if (all_.compute[m] == kForever.ns) continue;  // not a legal width
      const Wide value = sum + Wide{compute_price} * all_.compute[m];
      if (best && value >= *best) continue;
      best = value;
      takes = {all_.compute[m], io};
    }
    return best.value_or(0);
  }

  // `gap`: micro-nats up to the target.
  void climb(const std::vector<double>& slope, double gap) {
    double norm = 0;
    for (size_t k = 0; k < slope.size(); ++k) norm += prices_[k] > 0 || slope[k] > 0 ? slope[k] * slope[k] : 0;
    if (norm <= 0) return;
    const double unit = std::ldexp(1.0, kShift) / static_cast<double>(std::max<int64_t>(1, ends_));
    for (size_t k = 0; k < slope.size(); ++k)
      prices_[k] =
          static_cast<int64_t>(std::clamp(static_cast<double>(prices_[k]) + gap / norm * slope[k] * unit, 0.0, kMostPrice));
  }

  struct Rank {
    Wide more = 0;  // than its absence
    int64_t io = -1;
  };
  const PlanningView& view_;
  const AccuracyModel& accuracy_;
  const Choices& choices_;
  int64_t start_ = 0, embed_ = 0, ends_ = 0;  // ns
  Slices all_;
  std::vector<int64_t> prices_;
  std::vector<Rank> ranks_;
};

}  // namespace

std::optional<int64_t> wide_bound(const PlanningView& view, const Residency& residency, const AccuracyModel& accuracy,
                                  const Choices& choices, ExactTimes& times, int64_t known) {
  if (!times.one_device()) return std::nullopt;
  WideDual dual(view, residency, accuracy, choices, times);
  int64_t least = known;
  for (const SizeClass& size : size_classes(accuracy, choices)) least = std::min(least, dual.bound(size, known));
  return least;
}

}  // namespace tessera
