// Lays out explanations as tables: a row a candidate, ranges where shards that are alike share a row.
#include "tools/render_explain.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tools/wording.h"

namespace tessera {
namespace {

// Widths of a table's columns; the verdict takes what is left.
constexpr int kMark = 4, kBits = 8, kExitName = 15, kSpan = 15, kRequest = 13;

std::string span_text(const std::optional<TimeSpan>& span) {
  return span ? format_number("%.2f", span->start.ms()) + "-" + format_number("%.2f", span->end.ms()) : "-";
}

void widen(std::optional<TimeSpan>& span, const std::optional<TimeSpan>& other) {
  if (!other) return;
  if (!span) span = other;
  span->start = std::min(span->start, other->start);
  span->end = std::max(span->end, other->end);
}

// The same candidate of several shards.
struct Row {
  const BitsCandidate* first = nullptr;
  Bytes least_bytes = kUnlimited, most_bytes;
  Micro least_loss{INT64_MAX}, most_loss{INT64_MIN};
  std::optional<TimeSpan> load, compute;
  Duration soonest = kForever, latest;
  Outcome low, high;  // of the figures that verdicts name
  bool alike = true;  // all reasons are the same words

  void add(const BitsCandidate& c) {
    const Outcome& o = c.outcome;
    if (first == nullptr) {
      first = &c;
      low = high = o;
    }
    alike = alike && o.why == first->outcome.why;
    least_bytes = std::min(least_bytes, c.bytes), most_bytes = std::max(most_bytes, c.bytes);
    least_loss = std::min(least_loss, c.loss), most_loss = std::max(most_loss, c.loss);
    widen(load, o.load), widen(compute, o.compute);
    soonest = std::min(soonest, o.latency), latest = std::max(latest, o.latency);
    low.late_by = std::min(low.late_by, o.late_by), high.late_by = std::max(high.late_by, o.late_by);
    if (o.short_by) {
      low.short_by = std::min(low.short_by.value_or(*o.short_by), *o.short_by);
      high.short_by = std::max(high.short_by.value_or(*o.short_by), *o.short_by);
    }
    low.loss_change = std::min(low.loss_change, o.loss_change), high.loss_change = std::max(high.loss_change, o.loss_change);
    if (o.accuracy_change) {
      low.accuracy_change = std::min(low.accuracy_change.value_or(*o.accuracy_change), *o.accuracy_change);
      high.accuracy_change = std::max(high.accuracy_change.value_or(*o.accuracy_change), *o.accuracy_change);
    }
  }
};

// "0.0010-0.0041 nats (0.02-0.10 points)", sizes alone.
std::string lost(const Row& row) {
  const auto sizes = [](double a, double b) { return std::minmax({std::abs(a), std::abs(b)}); };
  const auto [least, most] = sizes(row.low.loss_change.value(), row.high.loss_change.value());
  std::string text = nats_range(least, most) + " nats";
  if (!row.low.accuracy_change || !row.high.accuracy_change) return text;
  const auto [fewest, largest] = sizes(row.low.accuracy_change->value(), row.high.accuracy_change->value());
  return text + " (" + range_text("%.2f", fewest * 100, largest * 100) + " points)";
}

std::string verdict_text(const Row& row, const std::string& policy) {
  const Outcome& one = row.first->outcome;
  if (row.alike) return one.why;
  switch (one.verdict) {
    case Verdict::kLate:
      return "late by " + range_text(row.low.late_by, row.high.late_by);
    case Verdict::kMemory:
      return row.low.short_by ? "need " + range_text(*row.low.short_by, *row.high.short_by) + " more than --memory leaves"
                              : one.why;
    case Verdict::kWorse:
      return "fits, but loses " + lost(row) + " more";
    case Verdict::kBetter:
      return "fits, and would lose " + lost(row) + " less: " + policy + " passed it over";
    default:
      return one.why;
  }
}

Paint paint_of(Verdict verdict) {
  if (verdict == Verdict::kChosen) return Paint::kBold;
  return verdict == Verdict::kBetter ? Paint::kWarn : Paint::kPlain;
}

// A line of cells and a verdict that wraps under itself.
std::string table_line(const std::vector<std::pair<std::string, int>>& columns, const std::string& last, int wide,
                       Paint kind, const Painter& paint) {
  std::string line;
  for (const auto& [text, width] : columns) line += width < 0 ? pad_left(text, -width) : pad(text, width);
  const int at = cells(line);
  line = paint(kind, line) + wrapped(last, at, at, std::max(wide, at + 24));
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

std::string heading(const std::string& subject, int subject_width, const std::string& last, int wide, const Painter& paint) {
  return table_line({{"", kMark},
                     {subject, subject_width},
                     {"loaded ms", -kSpan},
                     {"computed ms", -kSpan},
                     {"request ms", -kRequest},
                     {"", 2}},
                    last, wide, Paint::kDim, paint);
}

std::string placement_text(const std::vector<LayerPart>& parts, const Platform& platform) {
  std::string text;
  for (const LayerPart& part : parts) {
    const std::string& name = platform.devices[part.device].name;
    text += (text.empty() ? "" : " + ") + name + (parts.size() > 1 ? " " + slice_list(part.slices) : "");
  }
  return text;
}

// "10 at 2, 2 at 6 bits"
std::string bits_summary(const Plan& plan, int layer) {
  std::map<int, int> counts;
  for (int j = 0; j < plan.slices; ++j) {
    const Bits bits = plan.bits_of({static_cast<int16_t>(layer), static_cast<int16_t>(j)});
    if (bits != kAbsent) ++counts[bits];
  }
  std::string text;
  for (const auto& [bits, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) +
            (bits == kExact ? " exact" : " at " + bits_words(static_cast<Bits>(bits)));
  return text;
}

// Shards of a layer whose candidates end alike.
struct Group {
  SliceMask slices = 0;
  std::vector<const ShardChoice*> shards;
};

std::vector<Group> grouped(const std::vector<ShardChoice>& shards, int layer) {
  std::vector<Group> groups;
  const auto alike = [](const ShardChoice& a, const ShardChoice& b) {
    const auto same = [](const BitsCandidate& x, const BitsCandidate& y) {
      return x.bits == y.bits && x.outcome.verdict == y.outcome.verdict;
    };
    return a.chosen == b.chosen && a.resident == b.resident && a.device == b.device &&
           std::equal(a.candidates.begin(), a.candidates.end(), b.candidates.begin(), b.candidates.end(), same);
  };
  for (const ShardChoice& shard : shards) {
    if (shard.id.layer != layer) continue;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return alike(*g.shards.front(), shard); });
    if (group == groups.end()) group = groups.insert(groups.end(), Group{});
    group->slices |= SliceMask{1} << shard.id.slice;
    group->shards.push_back(&shard);
  }
  return groups;
}

class Explaining {
 public:
  Explaining(const ExplainView& view, const ExplainTarget& target, const Painter& paint)
      : view_(view), target_(target), paint_(paint) {}

  std::string run() const {
    std::string text;
    if (!view_.profiled) text += paint_(Paint::kDim, "  losses are invented, from --seed: the model has no profile") + '\n';
    text += exits();
    for (const LayerChoice& layer : view_.explanation.layers)
      if (!target_.layer || *target_.layer == layer.layer) text += (text.empty() ? "" : "\n") + this->layer(layer);
    return text;
  }

 private:
  std::string exits() const {
    if (view_.explanation.exits.size() < 2) return "";
    std::string text;
    for (const ExitCandidate& exit : view_.explanation.exits)
      text += table_line({{exit.outcome.verdict == Verdict::kChosen ? "  > " : "", kMark},
                          {"exit after " + std::to_string(exit.depth), kExitName},
                          {exit.outcome.replayed ? to_string(exit.outcome.latency) : "", -9},
                          {"", 2}},
                         exit.outcome.why + new_layers(exit), view_.columns, paint_of(exit.outcome.verdict), paint_);
    return text;
  }

  std::string new_layers(const ExitCandidate& exit) const {
    if (exit.depth <= view_.planned.plan.depth) return "";
    return " (more layers like the last, at " + bits_words(view_.shape.bitwidths.front()) + ")";
  }

  std::string layer(const LayerChoice& choice) const {
    const Plan& plan = view_.planned.plan;
    const int l = choice.layer;
    std::string head = ": " + bits_summary(plan, l) + " on " + placement_text(plan.placement[l], view_.platform) +
                       "; loaded " + span_text(choice.load) + " ms, computed " + span_text(choice.compute) +
                       " ms; bound by " + choice.binding;
    const std::string name = "layer " + std::to_string(l);
    std::string text = paint_.layer(l, name) + wrapped(head, cells(name), 2, view_.columns) + '\n';
    for (const Group& group : grouped(view_.explanation.shards, l)) {
      if (target_.slice && (group.slices >> *target_.slice & 1) == 0) continue;
      text += target_.slice ? alone(group) : shards(group);
    }
    if (!target_.slice) text += placements(choice);
    return text;
  }

  // The one shard that was asked for.
  std::string alone(const Group& group) const {
    for (const ShardChoice* shard : group.shards)
      if (shard->id.slice == *target_.slice) return shards({SliceMask{1} << shard->id.slice, {shard}});
    return "";
  }

  std::string shards(const Group& group) const {
    const ShardChoice& one = *group.shards.front();
    std::string head = (group.shards.size() > 1 ? "slices " : "slice ") + slice_list(group.slices) + ": " +
                       bits_words(one.chosen) + (one.resident ? ", preloaded" : "");
    if (one.device && view_.planned.plan.placement[one.id.layer].size() > 1)
      head += " on " + view_.platform.devices[*one.device].name;
    std::string text = "  " + paint_(Paint::kBold, head) + '\n';
    if (const std::string words = reasons(group); !words.empty())
      text += "    " + wrapped(view_.policy + ": " + words, 4, 6, view_.columns) + '\n';
    text += heading("bits", kBits, "stored, its loss: what came of it", view_.columns, paint_);
    for (size_t i = 0; i < one.candidates.size(); ++i) {
      Row row;
      for (const ShardChoice* shard : group.shards) row.add(shard->candidates[i]);
      text += candidate(row);
      if (target_.slice) text += more_of(one.candidates[i].outcome);
    }
    return text;
  }

  // The policy's own words; of shards that it gave different ones, the first and how many others.
  std::string reasons(const Group& group) const {
    const std::string& first = group.shards.front()->reason;
    const auto others = std::count_if(group.shards.begin(), group.shards.end(),
                                      [&](const ShardChoice* shard) { return shard->reason != first; });
    if (first.empty() && others == 0) return "";
    if (others == 0) return first;
    std::string text;
    int shown = 0;
    std::map<std::string, SliceMask> by_reason;
    for (const ShardChoice* shard : group.shards) by_reason[shard->reason] |= SliceMask{1} << shard->id.slice;
    for (const ShardChoice* shard : group.shards) {
      const auto found = by_reason.find(shard->reason);
      if (found == by_reason.end() || shown == 3) continue;
      text += (text.empty() ? "" : "; ") + slice_list(found->second) + ": " + found->first;
      by_reason.erase(found);
      ++shown;
    }
    return by_reason.empty() ? text : text + "; ...";
  }

  std::string candidate(const Row& row) const {
    const Outcome& outcome = row.first->outcome;
    const bool known = view_.explanation.losses_known && outcome.verdict != Verdict::kUnknown;
    return table_line({{outcome.verdict == Verdict::kChosen ? "  > " : "", kMark},
                       {bits_words(row.first->bits), kBits},
                       {span_text(row.load), -kSpan},
                       {span_text(row.compute), -kSpan},
                       {outcome.replayed ? range_text("%.2f", row.soonest.ms(), row.latest.ms()) : "-", -kRequest},
                       {"", 2}},
                      (row.first->bits == kAbsent ? "" : range_text(row.least_bytes, row.most_bytes) + ", ") +
                          (known ? nats_range(row.least_loss.value(), row.most_loss.value()) + " nats: " : "") +
                          verdict_text(row, view_.policy),
                      view_.columns, paint_of(outcome.verdict), paint_);
  }

  // What the whole request would be.
  std::string more_of(const Outcome& outcome) const {
    if (!outcome.replayed) return "";
    std::string text = "peak " + to_string(outcome.peak) + ", reads " + to_string(outcome.io);
    if (view_.explanation.losses_known && outcome.verdict != Verdict::kUnknown)
      text += ", plan loses " + nats_text(outcome.loss.value()) + " nats";
    return std::string(kMark + kBits, ' ') + paint_(Paint::kDim, text) + '\n';
  }

  std::string placements(const LayerChoice& choice) const {
    if (choice.candidates.size() < 2) return "";
    int width = kBits;
    for (const PlacementCandidate& c : choice.candidates)
      width = std::max(width, cells(placement_text(c.parts, view_.platform)) + 1);
    std::string text = "  " + paint_(Paint::kBold, "computed elsewhere") + '\n' +
                       heading("on", width, "what came of it", view_.columns, paint_);
    for (const PlacementCandidate& c : choice.candidates)
      text += table_line({{c.outcome.verdict == Verdict::kChosen ? "  > " : "", kMark},
                          {placement_text(c.parts, view_.platform), width},
                          {span_text(c.outcome.load), -kSpan},
                          {span_text(c.outcome.compute), -kSpan},
                          {c.outcome.replayed ? format_number("%.2f", c.outcome.latency.ms()) : "-", -kRequest},
                          {"", 2}},
                         c.outcome.why, view_.columns, paint_of(c.outcome.verdict), paint_);
    return text;
  }

  const ExplainView& view_;
  const ExplainTarget& target_;
  const Painter& paint_;
};

}  // namespace

std::string render_layers(const ExplainView& view, const Painter& paint) {
  const Plan& plan = view.planned.plan;
  size_t bits = 4, place = 2;
  for (const LayerChoice& layer : view.explanation.layers) {
    bits = std::max(bits, bits_summary(plan, layer.layer).size());
    place = std::max(place, placement_text(plan.placement[layer.layer], view.platform).size());
  }
  const int bits_width = static_cast<int>(bits) + 2, place_width = static_cast<int>(place) + 1;
  std::string text = table_line(
      {{"  layer", 8}, {"bits", bits_width}, {"on", place_width}, {"loaded ms", -kSpan}, {"computed ms", -kSpan}, {"", 2}},
      "bound by", view.columns, Paint::kDim, paint);
  for (const LayerChoice& layer : view.explanation.layers)
    text += table_line({{"  " + std::to_string(layer.layer), 8},
                        {bits_summary(plan, layer.layer), bits_width},
                        {placement_text(plan.placement[layer.layer], view.platform), place_width},
                        {span_text(layer.load), -kSpan},
                        {span_text(layer.compute), -kSpan},
                        {"", 2}},
                       layer.binding, view.columns, Paint::kPlain, paint);
  return text;
}

std::string render_explanation(const ExplainView& view, const ExplainTarget& target, const Painter& paint) {
  return Explaining(view, target, paint).run();
}

}  // namespace tessera
