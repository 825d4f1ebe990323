// Lists the changes of one shard or one width that an exchange may make.
#include <algorithm>
#include <limits>
#include <numeric>

#include "policies/parts/exchange.h"

namespace tessera {

void Exchange::add(Move move) {
  constexpr double kLeast = 1e-9;
  const double price = move.more.io * std::max(prices_.io_price(move.layer), least_price_) +
                       move.more.compute * std::max(prices_.compute_price(move.layer), least_price_);
  if (move.gain > 0) {
    move.worth = move.gain / std::max(price, kLeast);
    gains_.push_back(move);
  } else if (move.more.io < 0 || move.more.compute < 0) {
    move.worth = std::max(-price, kLeast) / std::max(-move.gain, kLeast);
    losses_.push_back(move);
  }
}

void Exchange::list_shards(int layer) {
  const size_t at = static_cast<size_t>(layer) * market_.slices();
  for (int j = 0; j < market_.slices(); ++j) {
    const int has = rungs_[at + j];
    if (has == 0) continue;
    const double held = market_.io(layer, j, has);
    const double freed_call = held > 0 && counts_[layer][has] == 1 ? market_.call() : 0;
    for (int r = 1; r < market_.rungs(); ++r) {
      const double loss = market_.loss(layer, j, r);
      if (r == has || loss == std::numeric_limits<double>::infinity()) continue;
      const double io = market_.io(layer, j, r);
      Move move;
      move.layer = static_cast<int16_t>(layer);
      move.slice = static_cast<int16_t>(j);
      move.rung = static_cast<uint8_t>(r);
      move.gain = scale_ * (market_.loss(layer, j, has) - loss);
      move.more.bytes = market_.bytes(layer, j, r) - market_.bytes(layer, j, has);
      move.more.io = io - held + (io > 0 && counts_[layer][r] == 0 ? market_.call() : 0) - freed_call;
      move.more.compute = market_.decode(r) - market_.decode(has);
      add(move);
    }
  }
}

// The next width up and down, at the layer's prices.
void Exchange::list_widths(int layer) {
  const std::vector<int>& widths = market_.rules().widths;
  if (widths.size() < 2 || market_.rules().equal_widths) return;
  const size_t slices = static_cast<size_t>(market_.slices());
  const uint8_t* row = &rungs_[static_cast<size_t>(layer) * slices];
  const LayerOffer now = market_.offer(layer, row);
  const int width = static_cast<int>(slices) - static_cast<int>(std::count(row, row + slices, uint8_t{0}));
  const auto at = std::find(widths.begin(), widths.end(), width);
  if (at == widths.end()) return;
  for (const int step : {-1, 1}) {
    if ((step < 0 && at == widths.begin()) || (step > 0 && at + 1 == widths.end())) continue;
    const size_t offset =
        (static_cast<size_t>(layer) * widths.size() + static_cast<size_t>(at - widths.begin() + step)) * slices;
    LayerOffer then;
    double own = 0;
    if (least_bytes_[static_cast<size_t>(layer) * (slices + 1) + static_cast<size_t>(*(at + step))] > times_.room) continue;
    if (!market_.cheapest_within(times_.room, layer, *(at + step), scale_, prices_.io_price(layer),
                                 prices_.compute_price(layer), &rows_[offset], then, own))
      continue;
    Move move;
    move.layer = static_cast<int16_t>(layer);
    move.row = offset;
    move.gain = scale_ * (now.loss - then.loss);
    move.more = {then.io - now.io, then.bytes - now.bytes, then.compute - now.compute};
    add(move);
  }
}

void Exchange::list_layer(int layer) {
  constexpr int64_t kListing = 10;  // moves weighed in the time that this takes
  left_ -= kListing;
  list_shards(layer);
  list_widths(layer);
}

// A width whose lightest slices have no room need not be priced.
void Exchange::list_least() {
  constexpr double kRounded = 1 - 1e-9;  // by which sums in another order cannot differ
  const size_t slices = static_cast<size_t>(market_.slices());
  least_bytes_.assign(static_cast<size_t>(draft_.depth) * (slices + 1), 0);
  if (times_.room == std::numeric_limits<double>::infinity()) return;
  for (int l = 0; l < draft_.depth; ++l) {
    double* least = &least_bytes_[static_cast<size_t>(l) * (slices + 1) + 1];
    for (int j = 0; j < market_.slices(); ++j) {
      double bytes = std::numeric_limits<double>::infinity();
      for (int r = 1; r < market_.rungs(); ++r)
        if (market_.loss(l, j, r) < std::numeric_limits<double>::infinity())
          bytes = std::min(bytes, market_.bytes(l, j, r) * kRounded);
      least[j] = bytes;
    }
    std::sort(least, least + slices);
    std::partial_sum(least, least + slices, least);
  }
}

void Exchange::list_moves() {
  rows_.resize(draft_.bits.size() * market_.rules().widths.size());
  list_least();
  gains_.clear();
  losses_.clear();
  relist(std::vector<bool>(static_cast<size_t>(draft_.depth), true));
}

void Exchange::relist(const std::vector<bool>& layers) {
  const auto stale = [&](const Move& move) { return layers[static_cast<size_t>(move.layer)]; };
  std::erase_if(gains_, stale);
  std::erase_if(losses_, stale);
  for (int l = 0; l < draft_.depth; ++l)
    if (layers[static_cast<size_t>(l)]) list_layer(l);
}

}  // namespace tessera
