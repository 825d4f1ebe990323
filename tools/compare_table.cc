// Lays rows out in tables that fit the terminal.
#include "tools/compare_table.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

namespace tessera {
namespace {

std::string format(const char* how, double value) {
  char text[64];
  std::snprintf(text, sizeof text, how, value);
  return text;
}

// What a table shows: the best figure that its rows have; nothing where no row has any.
enum class Shown { kMeasured, kPredicted, kLoss, kNothing };

// Mean over seeds of one contender at one budget.
struct Entry {
  double sum = 0;
  int64_t n = 0, errors = 0, infeasible = 0;
  std::optional<double> mean() const { return n > 0 ? std::optional(sum / static_cast<double>(n)) : std::nullopt; }
};

struct Line {
  Duration latency;
  Bytes memory, preload;
  auto operator<=>(const Line&) const = default;
};

struct Table {
  size_t arena = 0, workload = 0;
  std::string title;
  Shown shown = Shown::kLoss;
  std::map<Line, std::map<size_t, Entry>> lines;  // by contender
};

const char* field(Shown shown) {
  switch (shown) {
    case Shown::kMeasured:
      return "accuracy";
    case Shown::kPredicted:
      return "accuracy_predicted";
    case Shown::kLoss:
    case Shown::kNothing:
      return "loss_predicted";
  }
  return "";
}

const char* caption(Shown shown) {
  switch (shown) {
    case Shown::kMeasured:
      return "measured accuracy, %; * the best";
    case Shown::kPredicted:
      return "predicted accuracy, %; * the best";
    case Shown::kLoss:
      return "predicted loss, nats (accuracy is not profiled); * the best";
    case Shown::kNothing:
      return "nobody has a plan";
  }
  return "";
}

Shown what_to_show(const std::vector<const Json*>& rows) {
  Shown shown = Shown::kNothing;
  for (const Json* row : rows) {
    if ((*row)["accuracy"].is_number()) return Shown::kMeasured;
    if ((*row)["accuracy_predicted"].is_number())
      shown = Shown::kPredicted;
    else if (shown == Shown::kNothing && (*row)["loss_predicted"].is_number())
      shown = Shown::kLoss;
  }
  return shown;
}

void add(const Cell& cell, const Json& row, Table& table) {
  Entry& entry = table.lines[{cell.latency, cell.memory, cell.shared_preload}][cell.contender];
  const Json& value = row[field(table.shown)];
  if (!row["error"].is_null())
    ++entry.errors;
  else if (!row["feasible"].get<bool>())
    ++entry.infeasible;
  else if (value.is_number()) {
    entry.sum += value.get<double>();
    ++entry.n;
  }
}

std::string cell_text(const Entry& entry, Shown shown) {
  if (entry.errors > 0) return "error";
  const auto mean = entry.mean();
  if (!mean) return entry.infeasible > 0 ? "-" : "?";
  return shown == Shown::kLoss ? format("%.4f", *mean) : format("%.2f", *mean * 100);
}

std::string line_head(const Line& line, bool with_preload) {
  std::string text = line.latency == kForever ? "any time" : to_string(line.latency);
  text += line.memory == kUnlimited ? "  unlimited" : "  " + to_string(line.memory);
  if (with_preload) text += "  +" + to_string(line.preload);
  return text;
}

std::optional<double> best_of(const std::map<size_t, Entry>& entries, Shown shown) {
  std::optional<double> best;
  for (const auto& [contender, entry] : entries) {
    const auto mean = entry.mean();
    if (mean && (!best || (shown == Shown::kLoss ? *mean < *best : *mean > *best))) best = mean;
  }
  return best;
}

class Renderer {
 public:
  Renderer(const Experiment& experiment, int columns, const Painter& paint)
      : experiment_(experiment), columns_(columns), paint_(paint) {}

  void table(const Table& table) {
    bool with_preload = false, infeasible = false;
    for (const auto& [line, entries] : table.lines) {
      with_preload |= line.preload.n > 0;
      for (const auto& [contender, entry] : entries) infeasible |= entry.infeasible > 0 && entry.n == 0;
    }
    int head = 0;
    for (const auto& [line, entries] : table.lines) head = std::max(head, cells(line_head(line, with_preload)));
    text_ += "\n" + paint_(Paint::kBold, table.title) + "  " + paint_(Paint::kDim, caption(table.shown));
    if (infeasible) text_ += paint_(Paint::kDim, "; - infeasible (nearest: results.json)");
    text_ += "\n";
    std::vector<size_t> part;
    int used = head;
    for (size_t c = 0; c < experiment_.contenders.size(); ++c) {
      const int width = width_of(c);
      if (!part.empty() && used + width > columns_) {
        block(table, part, head, with_preload);
        part.clear();
        used = head;
      }
      part.push_back(c);
      used += width;
    }
    block(table, part, head, with_preload);
  }

  std::string take() { return std::move(text_); }

 private:
  int width_of(size_t contender) const {
    return std::min(std::max(8, cells(experiment_.contenders[contender].label)), 36) + 2;
  }

  void block(const Table& table, const std::vector<size_t>& part, int head, bool with_preload) {
    std::string line = pad("", head);
    for (const size_t c : part) line += pad_left(printable(experiment_.contenders[c].label, width_of(c) - 2), width_of(c));
    text_ += paint_(Paint::kDim, line) + "\n";
    for (const auto& [budget, entries] : table.lines) {
      const auto best = best_of(entries, table.shown);
      line = pad(line_head(budget, with_preload), head);
      for (const size_t c : part) {
        const auto at = entries.find(c);
        std::string text = at == entries.end() ? "" : cell_text(at->second, table.shown);
        const bool wins = at != entries.end() && best && at->second.mean() == best;
        const std::string padded = pad_left(text + (wins ? "*" : " "), width_of(c));
        line += wins ? paint_(Paint::kGood, padded) : text == "error" ? paint_(Paint::kBad, padded) : padded;
      }
      text_ += line + "\n";
    }
  }

  const Experiment& experiment_;
  const int columns_;
  const Painter& paint_;
  std::string text_;
};

std::string number(const Json& row, const char* name, const char* how, double scale = 1) {
  return row[name].is_number() ? format(how, row[name].get<double>() * scale) : "-";
}

// Over everything: one line a contender.
std::string render_summary(const Json& summary, const Experiment& experiment, const Painter& paint) {
  int width = 8;
  for (const Contender& contender : experiment.contenders) width = std::max(width, std::min(cells(contender.label), 40));
  std::string text = "\n" + paint(Paint::kBold, "all together") + "\n" +
                     paint(Paint::kDim, pad("", width) +
                                            "  feasible  accuracy  predicted  regret    loss  best  gap closed  misses"
                                            "   plan us") +
                     "\n";
  for (const Json& row : summary) {
    if (!row["platform"].is_null()) continue;
    const std::string answered =
        std::to_string(row["feasible"].get<int64_t>()) + "/" + std::to_string(row["rows"].get<int64_t>());
    text += pad(printable(row["policy"].get<std::string>(), width), width) + pad_left(answered, 10) +
            pad_left(number(row, "accuracy", "%.2f", 100), 10) +
            pad_left(number(row, "accuracy_predicted", "%.2f", 100), 11) + pad_left(number(row, "regret", "%.2f"), 8) +
            pad_left(number(row, "loss_predicted", "%.4f"), 8) + pad_left(number(row, "best", "%.0f"), 6) +
            pad_left(number(row, "gap_closed", "%.0f %%", 100), 12) + pad_left(number(row, "miss_rate", "%.1f %%", 100), 8) +
            pad_left(number(row, "plan_us", "%.0f"), 10);
    const auto errors = row["errors"].get<int64_t>();
    if (errors > 0) text += paint(Paint::kBad, "  " + std::to_string(errors) + (errors == 1 ? " error" : " errors"));
    text += "\n";
  }
  return text;
}

}  // namespace

std::string render_comparison(const Experiment& experiment, const std::vector<Cell>& cells_played,
                              const std::vector<Json>& rows, const Json& summary, int columns, const Painter& paint) {
  Renderer renderer(experiment, columns, paint);
  for (size_t first = 0; first < rows.size();) {
    size_t end = first;
    std::vector<const Json*> here;
    for (; end < rows.size() && cells_played[end].arena == cells_played[first].arena &&
           cells_played[end].workload == cells_played[first].workload;
         ++end)
      here.push_back(&rows[end]);
    Table table{cells_played[first].arena, cells_played[first].workload, {}, what_to_show(here), {}};
    for (size_t i = first; i < end; ++i) add(cells_played[i], rows[i], table);
    const Json& row = rows[first];
    table.title = row["platform"].get<std::string>() +
                  (row["model"].is_string() ? ", " + row["model"].get<std::string>() : "") +
                  (row["workload"].is_string() ? ", " + row["workload"].get<std::string>() : "");
    renderer.table(table);
    first = end;
  }
  return renderer.take() + render_summary(summary, experiment, paint);
}

}  // namespace tessera
