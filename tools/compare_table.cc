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
enum class Shown { kMeasured, kPredicted, kLoss, kNothing, kMisses };

// Mean over seeds of one contender at one budget.
struct Entry {
  double sum = 0;
  int64_t n = 0, errors = 0, infeasible = 0, requests = 0, misses = 0;
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
    case Shown::kMisses:
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
    case Shown::kMisses:
      return "missed deadlines, % of requests";
  }
  return "";
}

bool none_predicts(const std::vector<const Json*>& rows) {
  return std::none_of(rows.begin(), rows.end(), [](const Json* row) { return (*row)["accuracy_predicted"].is_number(); });
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
  if (row["requests"].is_number()) {
    entry.requests += row["requests"].get<int64_t>();
    entry.misses += row["misses"].get<int64_t>();
  }
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
  if (shown == Shown::kMisses)
    return entry.requests > 0 ? format("%.1f", 100 * static_cast<double>(entry.misses) / static_cast<double>(entry.requests))
                              : "-";
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
  if (shown == Shown::kMisses) return best;
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

  // A second one tells what the first cannot, where somebody was late.
  void table(Table table) {
    bool infeasible = false, unknown = false, missed = false;
    for (const auto& [line, entries] : table.lines)
      for (const auto& [contender, entry] : entries) {
        infeasible |= entry.infeasible > 0 && entry.n == 0;
        unknown |= cell_text(entry, table.shown) == "?";
        missed |= entry.misses > 0;
      }
    text_ += "\n" + paint_(Paint::kBold, table.title) + "  " + paint_(Paint::kDim, caption(table.shown));
    if (infeasible) text_ += paint_(Paint::kDim, "; - infeasible (nearest: results.json)");
    if (unknown) text_ += paint_(Paint::kDim, "; ? not known");
    text_ += "\n";
    lines(table);
    if (!missed) return;
    table.shown = Shown::kMisses;
    text_ += paint_(Paint::kDim, std::string("  ") + caption(table.shown)) + "\n";
    lines(table);
  }

  std::string take() { return std::move(text_); }

 private:
  void lines(const Table& table) {
    bool with_preload = false;
    for (const auto& [line, entries] : table.lines) with_preload |= line.preload.n > 0;
    int head = 0;
    for (const auto& [line, entries] : table.lines) head = std::max(head, cells(line_head(line, with_preload)));
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

// Of one contender, where the model has no profile: there is no accuracy to tell, so losses stand for it.
struct Nats {
  Entry loss, regret;
};
using NatsByLabel = std::map<std::string, Nats>;

void add_nats(const std::vector<const Json*>& rows, NatsByLabel& nats) {
  for (const Json* row : rows) {
    Nats& mine = nats[(*row)["label"].get<std::string>()];
    for (const auto& [entry, name] : {std::pair{&mine.loss, "loss_predicted"}, std::pair{&mine.regret, "loss_regret"}}) {
      const Json& value = (*row)[name];
      if (!value.is_number()) continue;
      entry->sum += value.get<double>();
      ++entry->n;
    }
  }
}

std::string mean_text(const Entry& entry) {
  const auto mean = entry.mean();
  return mean ? format("%.4f", *mean) : "-";
}

// One column of the summary; it is left out where nobody has a figure in it.
struct Column {
  const char* head;
  std::vector<std::string> texts;
  bool told() const {
    return std::any_of(texts.begin(), texts.end(), [](const std::string& text) { return text != "-"; });
  }
  int width() const {
    int most = cells(head);
    for (const std::string& text : texts) most = std::max(most, cells(text));
    return most + 2;
  }
};

std::vector<Column> columns_of(const std::vector<const Json*>& contenders, const NatsByLabel& nats) {
  std::vector<Column> columns{{"feasible", {}},   {"accuracy", {}},     {"predicted", {}}, {"regret", {}},
                              {"loss, nats", {}}, {"regret, nats", {}}, {"best", {}},      {"gap closed", {}},
                              {"misses", {}},     {"plan us", {}},      {"errors", {}}};
  for (const Json* contender : contenders) {
    const Json& row = *contender;
    const auto found = nats.find(row["policy"].get<std::string>());
    const Nats mine = found == nats.end() ? Nats{} : found->second;
    const auto errors = row["errors"].get<int64_t>();
    const std::vector<std::string> texts{
        std::to_string(row["feasible"].get<int64_t>()) + "/" + std::to_string(row["rows"].get<int64_t>()),
        number(row, "accuracy", "%.2f", 100),
        number(row, "accuracy_predicted", "%.2f", 100),
        number(row, "regret", "%.2f"),
        mean_text(mine.loss),
        mean_text(mine.regret),
        number(row, "best", "%.0f"),
        number(row, "gap_closed", "%.0f %%", 100),
        number(row, "miss_rate", "%.1f %%", 100),
        number(row, "plan_us", "%.0f"),
        errors > 0 ? std::to_string(errors) : "-"};
    for (size_t i = 0; i < columns.size(); ++i) columns[i].texts.push_back(texts[i]);
  }
  std::erase_if(columns, [](const Column& column) { return !column.told(); });
  return columns;
}

// Under the lines, where it needs telling.
std::string meaning_of(const std::vector<Column>& columns) {
  const auto has = [&](std::string_view head) {
    return std::any_of(columns.begin(), columns.end(), [&](const Column& column) { return column.head == head; });
  };
  std::string text;
  if (has("regret")) text = "regret: points of accuracy below the proven bound";
  if (has("loss, nats")) text += (text.empty() ? "" : "; ") + std::string("in nats: models without a profile");
  return text;
}

// Over everything: one line a contender.
std::string render_summary(const Json& summary, const Experiment& experiment, const NatsByLabel& nats,
                           const Painter& paint) {
  int width = 8;
  for (const Contender& contender : experiment.contenders) width = std::max(width, std::min(cells(contender.label), 40));
  std::vector<const Json*> contenders;
  for (const Json& row : summary)
    if (row["platform"].is_null()) contenders.push_back(&row);
  const std::vector<Column> columns = columns_of(contenders, nats);
  std::string head = pad("", width);
  for (const Column& column : columns) head += pad_left(column.head, column.width());
  std::string text = "\n" + paint(Paint::kBold, "all together") + "  " +
                     paint(Paint::kDim, "means over the rows that each one answered") + "\n" + paint(Paint::kDim, head) +
                     "\n";
  for (size_t i = 0; i < contenders.size(); ++i) {
    text += pad(printable((*contenders[i])["policy"].get<std::string>(), width), width);
    for (const Column& column : columns) {
      const std::string padded = pad_left(column.texts[i], column.width());
      const bool bad = std::string_view(column.head) == "errors" && column.texts[i] != "-";
      text += bad ? paint(Paint::kBad, padded) : padded;
    }
    text += "\n";
  }
  const std::string meaning = meaning_of(columns);
  return meaning.empty() ? text : text + paint(Paint::kDim, meaning) + "\n";
}

}  // namespace

std::string render_comparison(const Experiment& experiment, const std::vector<Cell>& cells_played,
                              const std::vector<Json>& rows, const Json& summary, int columns, const Painter& paint) {
  Renderer renderer(experiment, columns, paint);
  NatsByLabel nats;
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
    renderer.table(std::move(table));
    if (none_predicts(here)) add_nats(here, nats);
    first = end;
  }
  return renderer.take() + render_summary(summary, experiment, nats, paint);
}

}  // namespace tessera
