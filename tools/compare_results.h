// Keeps the results' folder of `tessera compare` (docs/compare.md): rows as they are done, so that a second run goes on.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/experiment.h"
#include "tools/commands.h"

namespace tessera {

// All that an experiment is, with the digests of what it names: told in results.json, and held against a folder's own.
Json experiment_json(const Experiment& experiment, const Ingredients& ingredients);

// Rows by cell id.
using RowMap = std::map<std::string, Json>;

class ResultsFolder {
 public:
  // Makes the folder or goes on in it. Other contenders, budgets, seeds, platforms and workloads than before are no
  // obstacle: each row is found by its id. kInvalid where another process works in it, or where rows of the same cells were
  // played by other rules, another build or on other files, and `update` is not set: says what differs. With `update` what
  // no longer holds is left out.
  static Result<std::unique_ptr<ResultsFolder>> open(const std::string& path, const Json& experiment, bool update);
  ~ResultsFolder();
  ResultsFolder(const ResultsFolder&) = delete;
  ResultsFolder& operator=(const ResultsFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string plan_path(const std::string& hash) const { return path_ + "/plans/" + hash + ".json"; }
  // What was there when it was opened.
  const RowMap& rows() const { return rows_; }
  // At once in the file, whole.
  Status append(const Json& row);
  // What was measured (tools/compare_accuracy.h), a line a plan.
  std::string answers_path() const { return path_ + "/answers.jsonl"; }
  Status append_answer(const std::string& line);
  // Rows that are there and not asked for now: other contenders', other budgets'. Not those whose cell is played anew.
  std::vector<Json> others(const std::vector<Json>& asked) const;
  // All rows anew, these and others(), then results.csv and, last, results.json.
  Status finish(const std::vector<Json>& rows, const Json& document);

 private:
  explicit ResultsFolder(std::string path) : path_(std::move(path)) {}
  Status take_lock();
  Status read_rows();
  Status open_files();
  std::string path_;
  int lock_ = -1, rows_fd_ = -1, answers_fd_ = -1;
  bool keeps_others_ = true;  // rows that are not asked for still hold
  RowMap rows_;
};

// Rows of a folder that is not open: for merging. kData names the file.
Result<RowMap> read_rows_of(const std::string& folder);
// A folder's experiment.json. kData names file and remedy; what is returned has an `id` and a `program`.
Result<Json> read_description(const std::string& folder);
Error damaged_description(const std::string& folder, const std::string& what);
// What is different in a way that the same cells would have other rows, by name: "program, data"; "" where nothing is.
std::string changed_rules(const Json& before, const Json& now);
// What of two descriptions differs, by name: "policies, seeds".
std::string difference(const Json& before, const Json& now);
// One line a row under a line of names.
std::string csv_of(const std::vector<Json>& rows);
// Without what only later steps need.
Json public_row(const Json& row);

}  // namespace tessera
