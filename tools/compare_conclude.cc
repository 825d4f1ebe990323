// Scores rows, writes and prints them.
#include "tools/compare_conclude.h"

#include <cstdio>

#include <spdlog/spdlog.h>

#include "tools/compare_accuracy.h"
#include "tools/compare_report.h"
#include "tools/compare_summary.h"
#include "tools/compare_table.h"
#include "tools/exit_codes.h"

namespace tessera {
namespace {

void print_outcome(const Comparison& comparison, const std::vector<Cell>& cells, const std::vector<Json>& rows,
                   const Json& document, size_t others, bool json) {
  if (json) return print_json(document);
  const Painter paint(colours_wanted());
  const std::string& title = comparison.experiment.title;
  std::string text = title.empty() ? "" : paint(Paint::kBold, title) + "\n";
  text += render_comparison(comparison.experiment, cells, rows, document["summary"], terminal_columns(), paint);
  text += "\nrows, plans and significance: " + comparison.out + "/ (results.json, results.csv)\n";
  if (others > 0)
    text +=
        std::to_string(others) + " rows of other contenders or budgets are kept there, and shown when they are asked for\n";
  std::fputs(text.c_str(), stdout);
}

// How many rows have an error; the first few are told.
int64_t tell_errors(const std::vector<Json>& rows) {
  constexpr int64_t kMost = 5;
  int64_t errors = 0;
  for (const Json& row : rows) {
    if (row["error"].is_null() || ++errors > kMost) continue;
    spdlog::error("{}, {}: {}", row["platform"].get<std::string>(), row["label"].get<std::string>(),
                  printable(row["error"].get<std::string>(), 2000));
  }
  if (errors > kMost) spdlog::error("... and {} more; results.json has the error of each row", errors - kMost);
  return errors;
}

// Fills the accuracy of all rows in; their scores.
Result<std::vector<Scores>> score(const Comparison& comparison, std::vector<Json>& rows, ResultsFolder& folder) {
  MeasuredAnswers answers;
  answers.read(folder.answers_path());
  const auto keep = [&folder](const std::string& line) { return folder.append_answer(line); };
  TESSERA_TRY(measure(comparison.experiment, wanted_answers(rows, answers), keep, answers));
  std::vector<Scores> scores;
  for (Json& row : rows) scores.push_back(fill_accuracy(answers, row));
  return scores;
}

}  // namespace

Result<int> conclude(const Comparison& comparison, const std::vector<Cell>& cells, const RowMap& rows_by_id,
                     const CompareFlags& flags, ResultsFolder& folder) {
  std::vector<Cell> there;
  std::vector<Json> rows;
  for (const Cell& cell : cells) {
    const auto row = rows_by_id.find(cell_id(comparison.experiment, comparison.ingredients, cell));
    if (row == rows_by_id.end()) continue;
    there.push_back(cell);
    rows.push_back(row->second);
  }
  TESSERA_ASSIGN(const std::vector<Scores> scores, score(comparison, rows, folder));
  Json document = new_document();
  document["experiment"] = comparison.description;
  Json& list = document["rows"] = Json::array();
  for (const Json& row : rows) list.push_back(public_row(row));
  document["summary"] = summary_json(comparison.experiment, there, rows);
  document["pairs"] = pairs_json(there, rows, scores);
  TESSERA_TRY(folder.finish(rows, document));
  print_outcome(comparison, there, rows, document, folder.others(rows).size(), flags.output.json);
  std::fflush(stdout);
  if (!flags.no_report && flags.shard.empty() && !rows.empty()) make_report(comparison.out);
  return tell_errors(rows) > 0 ? kExitInternal : kExitDone;
}

}  // namespace tessera
