// Renders answers: the label, the plan in a line, the lanes, predicted beside measured.
#include "tools/render_run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <utility>

#include "tools/render_lanes.h"

namespace tessera {
namespace {

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), pattern, value);
  return text;
}

std::string histogram(const Plan& plan) {
  std::map<int, int> counts;
  for (const Bits bits : plan.bits)
    if (bits != kAbsent) ++counts[bits];
  std::string text;
  for (const auto& [bits, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) +
            (bits == kExact ? std::string(" exact") : " at " + std::to_string(bits) + (bits == 1 ? " bit" : " bits"));
  return text;
}

std::string plan_line(const PlannedRequest& planned, const std::string& policy) {
  const Plan& plan = planned.plan;
  std::string line = planned.id + " by " + policy + ": " + std::to_string(plan.depth) + " layers x " +
                     std::to_string(plan.width()) + " slices, " + format("%.1f", plan.mean_bits()) + " bits on average (" +
                     histogram(plan) + ")";
  return line;
}

struct Row {
  std::string name, predicted, measured, error, budget;
  Paint paint = Paint::kPlain;
};

std::string relative(double measured, double predicted) {
  if (predicted <= 0) return "";
  const double percent = (measured / predicted - 1) * 100;
  return std::fabs(percent) < 0.05 ? "0.0 %" : format("%+.1f %%", percent);
}

std::vector<Row> comparison(const RunView& view) {
  const Prediction& p = view.planned->plan.predicted;
  const Answer* a = view.answer;
  const auto ratio = [&](int64_t measured, int64_t predicted) {
    return a == nullptr ? std::string() : relative(static_cast<double>(measured), static_cast<double>(predicted));
  };
  const auto budget_paint = [](bool measured, bool kept) {
    return !measured ? Paint::kPlain : kept ? Paint::kGood : Paint::kBad;
  };
  std::vector<Row> rows;
  rows.push_back({"latency", to_string(p.expected), a ? to_string(a->latency) : "",
                  ratio(a ? a->latency.ns : 0, p.expected.ns), to_string(view.budgets.latency),
                  budget_paint(a, a && a->latency <= view.budgets.latency)});
  if (p.latency > p.expected) rows.push_back({"  planned for", to_string(p.latency), "", "", "", Paint::kPlain});
  rows.push_back({"peak memory", to_string(p.peak), a ? to_string(a->peak) : "", ratio(a ? a->peak.n : 0, p.peak.n),
                  to_string(view.budgets.memory), budget_paint(a, a && a->peak <= view.budgets.memory)});
  rows.push_back({"read", to_string(p.io), a ? to_string(a->io) : "", ratio(a ? a->io.n : 0, p.io.n), ""});
  rows.push_back({"accuracy", p.accuracy_known ? format("%.1f %%", p.accuracy.value() * 100) : "not profiled", "", "", ""});
  return rows;
}

std::string render_rows(const std::vector<Row>& rows, bool measured, bool simulated, const Painter& paint) {
  std::string text =
      "  " +
      paint(Paint::kDim, pad("", 14) + pad_left("predicted", 12) +
                             (measured ? pad_left(simulated ? "simulated" : "measured", 12) + pad_left("error", 10) : "") +
                             pad_left("budget", 12)) +
      '\n';
  for (const Row& row : rows) {
    std::string line = "  " + pad(row.name, 14) + pad_left(row.predicted, 12);
    if (measured) line += paint(row.paint, pad_left(row.measured, 12)) + pad_left(row.error, 10);
    line += pad_left(row.budget, 12);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string headline(const RunView& view, const ModelShape& shape, int columns, const Painter& paint) {
  std::string right;
  if (view.answer == nullptr || view.answer->label < 0) {
    right = paint(Paint::kDim, view.answer == nullptr ? "" : "no label in virtual time");
  } else {
    const auto label = static_cast<size_t>(view.answer->label);
    right = paint(Paint::kBold, label < shape.label_names.size() ? shape.label_names[label] : std::to_string(label)) +
            format("  %.1f %%", confidence(*view.answer) * 100);
  }
  const std::string size = " (" + std::to_string(view.tokens) + " tokens" + (view.truncated ? ", cut to fit)" : ")");
  const int room = std::max(columns - 26 - static_cast<int>(size.size()), 20);
  std::string text = "any text";
  if (!view.text.empty()) text.assign("\"").append(printable(view.text, room)).append("\"");
  return paint(Paint::kAccent, text) + paint(Paint::kDim, size) + (right.empty() ? "" : "  ") + right + '\n';
}

// "  island0 failed after 3.1 ms (layer L3: ...): others went on from layer 3; 2.0 ms late"
std::string taken_over_lines(const Answer& answer, const Painter& paint) {
  std::string text;
  for (const TakenOver& one : answer.taken_over) {
    std::string names;
    for (const DeviceFault& fault : one.faults) names += (names.empty() ? "" : ", ") + fault.name;
    text += "  " + paint(Paint::kBad, names + " failed") + " after " + to_string(one.at) + " (" +
            printable(one.faults.front().error, 160) + "); others went on " +
            (one.layer ? "from layer " + std::to_string(*one.layer) : std::string("from the start"));
    text += answer.late.ns > 0 ? "; the answer is " + to_string(answer.late) + " late\n" : "\n";
  }
  return text;
}

// "  revised after 3.1 ms: layer 4 slices 0-11 from 6 to 2 bits (reads take 1.8 times as long)"
std::string revision_lines(const Answer& answer, const Painter& paint) {
  std::string text;
  for (const Revision& r : answer.revisions) {
    text += "  " + paint(Paint::kAccent, "revised") + " after " + to_string(r.at) + ": layer " + std::to_string(r.layer) +
            ", " + std::to_string(slice_count(r.slices)) + (slice_count(r.slices) == 1 ? " slice" : " slices");
    text += r.to == kAbsent ? " left out" : " from " + std::to_string(r.from) + " to " + std::to_string(r.to) + " bits";
    text += r.why.empty() ? "\n" : " (" + printable(r.why, 100) + ")\n";
  }
  if (answer.revisions.empty() || answer.executed == nullptr) return text;
  const Prediction& p = answer.executed->plan.predicted;
  text += "  as run: " + format("%.1f", answer.executed->plan.mean_bits()) + " bits on average (" +
          histogram(answer.executed->plan) + "), " + to_string(p.io) + " to read";
  return text + (p.accuracy_known ? format(", predicted accuracy %.1f %%\n", p.accuracy.value() * 100) : "\n");
}

// Rounded up, so that the printed budget works when it is typed in.
std::string typed(Duration d) { return format("%.2fms", std::ceil(d.ms() * 100) / 100); }
std::string typed(Bytes b) {
  const double size = static_cast<double>(b.n) / 1024;
  return size < 1024 ? format("%.0fKiB", std::ceil(size)) : format("%.2fMiB", std::ceil(size / 10.24) / 100);
}

// Length of the union of the intervals; sorts them.
Duration covered(std::vector<std::pair<Duration, Duration>>& intervals) {
  std::sort(intervals.begin(), intervals.end());
  Duration sum, reached;
  for (const auto& [start, end] : intervals) {
    if (end <= reached) continue;
    sum += end - std::max(start, reached);
    reached = end;
  }
  return sum;
}

}  // namespace

Duration run_offset(const Answer& answer) { return std::max(answer.latency - answer.report.makespan, Duration{}); }

double confidence(const Answer& answer) {
  if (answer.label < 0 || answer.logits.empty()) return 0;
  double sum = 0;
  const float top = answer.logits[static_cast<size_t>(answer.label)];
  for (const float logit : answer.logits) sum += std::exp(static_cast<double>(logit - top));
  return 1 / sum;
}

void split_run(const Answer& answer, const Platform& platform, FirstAnswer& first) {
  std::vector<std::pair<Duration, Duration>> computing;
  const auto& tasks = answer.report.tasks;
  for (TaskId id = 0; id < tasks.size(); ++id) {
    const DeviceId device = answer.planned->graph.task(id).cost.device;
    if (computes(platform.devices[device].kind)) computing.emplace_back(tasks[id].start, tasks[id].end);
  }
  first.plan = run_offset(answer);
  first.compute = covered(computing);
  first.io = answer.report.makespan - first.compute;
}

std::string render_head(const ModelShape& shape, const Platform& platform, const Budgets& budgets, const std::string& policy,
                        bool profiled, int columns, const Painter& paint) {
  std::string devices;
  for (const DeviceDescription& device : platform.devices)
    if (device.available) devices += (devices.empty() ? "" : ", ") + device.name + (device.emulated ? " (emulated)" : "");
  const std::string model = ": " + std::to_string(shape.layers) + " layers x " + std::to_string(shape.slices) + " slices" +
                            (profiled ? "" : ", not profiled") + " on " + devices + ";";
  const std::string latency = budgets.latency == kForever ? "no deadline" : to_string(budgets.latency);
  const std::string memory = budgets.memory == kUnlimited ? "all memory" : to_string(budgets.memory);
  std::string rest = budgets.preload.n > 0 ? ", " + to_string(budgets.preload) + " of it to preload" : "";
  rest += "; policy " + policy + '\n';
  const std::string_view given = "budgets ", with = " and ";
  const int wide = cells(shape.name + model + latency + memory + rest) + cells(given) + cells(with);
  return paint(Paint::kBold, shape.name)
      .append(model)
      .append(wide <= columns ? " " : "\n  ")
      .append(given)
      .append(paint(Paint::kBold, latency))
      .append(with)
      .append(paint(Paint::kBold, memory))
      .append(rest);
}

std::string render_answer(const RunView& view, const ModelShape& shape, const Platform& platform, int columns,
                          const Painter& paint) {
  std::string text = headline(view, shape, columns, paint);
  text.append("  ").append(plan_line(*view.planned, view.policy)).append("\n");
  const bool measured = view.answer != nullptr;
  if (measured) text += taken_over_lines(*view.answer, paint) + revision_lines(*view.answer, paint);
  if (view.lanes) {
    const PlannedRequest& planned = *view.planned;
    const TaskGraph& graph = measured ? view.answer->executed->graph : planned.graph;
    const Trace trace = make_trace(graph, platform, planned.timeline.start, planned.timeline.end,
                                   measured ? view.answer->report : RunReport{});
    LaneView lanes{&trace, measured, view.simulated, measured ? run_offset(*view.answer) : Duration{}, view.budgets.latency,
                   columns};
    text.append("\n").append(render_lanes(lanes, paint)).append("\n");
  }
  return text + render_rows(comparison(view), measured, view.simulated, paint);
}

std::string render_process(const FirstAnswer& first, Duration calibrating, Bytes peak_resident, int columns,
                           const Painter& paint) {
  const std::pair<const char*, Duration> parts[] = {
      {"process start", first.process}, {"open", first.open},       {"plan", first.plan},
      {"wait for loads", first.io},     {"compute", first.compute}, {"other", first.other()}};
  std::string text = "process: first answer ";
  text += paint(Paint::kBold, to_string(first.total)) + " after its start; peak RSS ";
  text += paint(Paint::kBold, to_string(peak_resident)) + "\n";
  const std::string indent(8, ' ');
  std::string line = indent;
  for (const auto& [name, time] : parts) {
    if (time.ns == 0) continue;
    std::string part = std::string(" ") + name + ' ' + to_string(time);
    if (time == first.open && calibrating.ns > 0) part += " (" + to_string(calibrating) + " of it calibrating)";
    part += ',';
    if (line != indent && cells(line + part) > columns) text.append(std::exchange(line, indent)).append("\n");
    line += part;
  }
  text += line;
  text.back() = '\n';
  return text;
}

std::string infeasible_message(const Infeasible& infeasible, const Budgets& budgets) {
  std::string text = "infeasible under " + to_string(budgets.latency) + " and " + to_string(budgets.memory) + ": " +
                     infeasible.why + "; nearest: ";
  if (infeasible.latency) text += "--latency " + typed(*infeasible.latency) + " at this memory, or ";
  if (infeasible.memory) text += "--memory " + typed(*infeasible.memory) + " at this latency, or ";
  return text + "both --latency " + typed(infeasible.both_latency) + " --memory " + typed(infeasible.both_memory);
}

}  // namespace tessera
