// Draws lanes. One row of a lane is a row of cells; each cell shows the task that covers most of it.
//
//                     0 ms      2         4         6         8
//   disk0  predicted  r0▆▆▆▆▆▆▆1▆▆▆▆▆▆▆2▄▄▄▄3▄▄▄▄x
//          measured   r0▆▆▆▆▆▆▆▆1▆▆▆▆▆▆2▄▄▄▄3▄▄▄▄x
//   cpu0   predicted  e········0███····1███··2███3████x
#include "tools/render_lanes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

namespace tessera {
namespace {

constexpr int kIndent = 2;
constexpr std::string_view kIdle = "·";
constexpr std::string_view kDeadline = "┊";
constexpr std::string_view kFull = "█";

struct Span {
  Duration start, end;
  std::string label;
  std::string_view glyph;
  int layer = -1;
};

std::string_view bits_glyph(Bits bits) {
  static constexpr std::string_view kHeights[] = {"▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "▇"};
  return bits > 8 ? kFull : kHeights[bits];
}

std::string label_of(const TraceEvent& event) {
  switch (event.op) {
    case Op::kLoadRows:
      return "r";
    case Op::kLoadExit:
    case Op::kExit:
      return "x";
    case Op::kEmbed:
      return "e";
    case Op::kTransfer:
      return "t";
    case Op::kCombine:
      return "+";
    default:
      return std::to_string(event.layer);
  }
}

std::vector<Span> spans_of(const LaneView& view, DeviceId device, bool measured) {
  std::vector<Span> spans;
  for (const TraceEvent& event : view.trace->events) {
    if (event.device != device) continue;
    if (measured && event.state != TaskState::kDone) continue;
    Span span{event.predicted_start, event.predicted_end, label_of(event), kFull, event.layer};
    if (measured) {
      span.start = event.measured_start + view.offset;
      span.end = event.measured_end + view.offset;
    }
    if (event.op == Op::kLoadShards) span.glyph = bits_glyph(event.bits);
    spans.push_back(std::move(span));
  }
  return spans;
}

// The span that covers most of each cell; -1 where the device idles. A short task keeps the cell that it starts in unless a
// longer one has more than half of it.
std::vector<int> assign_cells(const std::vector<Span>& spans, double ns_per_cell, int width) {
  std::vector<int> owner(static_cast<size_t>(width), -1);
  std::vector<double> share(static_cast<size_t>(width), 0);
  for (size_t s = 0; s < spans.size(); ++s) {
    const double from = static_cast<double>(spans[s].start.ns) / ns_per_cell;
    const double to = std::max(static_cast<double>(spans[s].end.ns) / ns_per_cell, from);
    const int first = static_cast<int>(from);
    for (int c = std::max(first, 0); c < width && c < to + 1e-9; ++c) {
      const double covered = std::min<double>(to, c + 1) - std::max<double>(from, c);
      const double worth = c == first ? std::max(covered, 0.05) : covered;
      if (worth > share[static_cast<size_t>(c)] && (c == first || covered >= 0.5)) {
        owner[static_cast<size_t>(c)] = static_cast<int>(s);
        share[static_cast<size_t>(c)] = worth;
      }
    }
  }
  return owner;
}

std::string draw_row(const std::vector<Span>& spans, double ns_per_cell, int width, int deadline_cell,
                     const Painter& paint) {
  const std::vector<int> owner = assign_cells(spans, ns_per_cell, width);
  std::string row;
  std::string last;  // label of what ended in the cell before: loads of one layer that follow on each other show it once
  for (int c = 0; c < width;) {
    const int who = owner[static_cast<size_t>(c)];
    int end = c + 1;
    while (who >= 0 && end < width && owner[static_cast<size_t>(end)] == who) ++end;
    if (who < 0) {
      last.clear();
      row += paint(c == deadline_cell ? Paint::kBad : Paint::kDim, c == deadline_cell ? kDeadline : kIdle);
    } else {
      const Span& span = spans[static_cast<size_t>(who)];
      const int room = end - c;
      const bool fits = static_cast<int>(span.label.size()) <= room && span.label != last;
      const int label = fits ? static_cast<int>(span.label.size()) : 0;
      last = span.label;
      std::string text = label > 0 ? span.label : "";
      for (int i = label; i < room; ++i) text += span.glyph;
      row += span.layer >= 0 ? paint.layer(span.layer, text) : paint(Paint::kBold, text);
    }
    c = end;
  }
  return row;
}

// 1, 2 or 5 times a power of ten, so that ticks stand at least ten cells apart.
double tick_step(double span_ms, int width) {
  const double least = span_ms * 10.0 / width;
  double step = std::pow(10.0, std::floor(std::log10(std::max(least, 1e-6))));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (step * factor >= least) return step * factor;
  return step * 10;
}

std::string axis(double span_ms, int width) {
  std::string line(static_cast<size_t>(width) + 16, ' ');
  const double step = tick_step(span_ms, width);
  for (int i = 0; i * step <= span_ms * (1 + 1e-9); ++i) {
    char text[32];
    const int n = std::snprintf(text, sizeof(text), "%g%s", i * step, i == 0 ? " ms" : "");
    const int at = static_cast<int>(i * step / span_ms * width);
    if (at + n <= width) line.replace(static_cast<size_t>(at), static_cast<size_t>(n), text);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

Duration last_end(const LaneView& view) {
  Duration last;
  for (const TraceEvent& event : view.trace->events) {
    last = std::max(last, event.predicted_end);
    if (view.measured) last = std::max(last, event.measured_end + view.offset);
  }
  return last;
}

bool used(const Trace& trace, DeviceId device) {
  return std::any_of(trace.events.begin(), trace.events.end(), [&](const TraceEvent& e) { return e.device == device; });
}

}  // namespace

std::string render_lanes(const LaneView& view, const Painter& paint) {
  Duration span = last_end(view);
  if (span.ns <= 0) return "";
  // The deadline is shown where it is near enough not to squeeze the lanes.
  const bool deadline_near = view.deadline != kForever && view.deadline.ns <= span.ns + span.ns / 4;
  if (deadline_near) span = std::max(span, view.deadline + Duration{span.ns / 64});
  int name_width = 5;
  for (const std::string& name : view.trace->devices) name_width = std::max(name_width, cells(name));
  const int left = kIndent + name_width + 2 + 11;
  const int width = std::max(view.columns - left, 20);
  const double ns_per_cell = static_cast<double>(span.ns) / width;
  const int deadline_cell = deadline_near ? static_cast<int>(static_cast<double>(view.deadline.ns) / ns_per_cell) : -1;

  std::string text = std::string(static_cast<size_t>(left), ' ') + paint(Paint::kDim, axis(span.ms(), width)) + '\n';
  for (size_t d = 0; d < view.trace->devices.size(); ++d) {
    const auto device = static_cast<DeviceId>(d);
    if (!used(*view.trace, device)) continue;
    for (const bool measured : {false, true}) {
      if (measured && !view.measured) continue;
      text += std::string(kIndent, ' ') + paint(Paint::kBold, pad(measured ? "" : view.trace->devices[d], name_width + 2)) +
              paint(Paint::kDim, pad(!measured        ? "predicted"
                                     : view.simulated ? "simulated"
                                                      : "measured",
                                     11)) +
              draw_row(spans_of(view, device, measured), ns_per_cell, width, deadline_cell, paint) + '\n';
    }
  }
  return text;
}

std::string lanes_legend(int columns, const Painter& paint) {
  const std::string loads = "  digits: layers; loads by height: ▂2 ▃3 ▄4 ▅5 ▆6 █exact bits;";
  const std::string others = "r rows, e embed, x exit; ┊ deadline";
  const bool fits = cells(loads) + 1 + cells(others) <= columns;
  return paint(Paint::kDim, loads + (fits ? " " : "\n  ") + others) + '\n';
}

}  // namespace tessera
