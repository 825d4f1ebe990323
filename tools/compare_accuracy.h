// Measures the accuracy of played rows: the planned weights at the planned bits, run over the data set in a worker process.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tools/commands.h"
#include "tools/compare_stage.h"

namespace tessera {

// What a row's requests answered: right 1, wrong or unanswered 0, by sentence of the data set (one-shot), or by request.
// The mean over repetitions where these ran different plans.
using Scores = std::vector<double>;

// A model's data set: what plans of the model answer to its sentences.
struct AnswerSet {
  std::string model, data;  // a store or Hugging Face folder (empty: the embedded model); a TSV
  auto operator<=>(const AnswerSet&) const = default;
};
// As rows keep it, in "ran": ["model", "data"].
Json answer_set_json(const AppModel& names);  // null where nothing can be measured

// Measured answers. Kept in OUT/answers.jsonl, a line a plan, so that folders can be merged and rows be scored anywhere.
class MeasuredAnswers {
 public:
  struct Plan {
    std::string key;              // accuracy_key
    std::vector<int16_t> labels;  // by sentence; -1: not measured
  };
  struct Said {
    std::vector<int16_t> given;  // by sentence; -1: no label
    std::map<std::string, Plan> plans;
  };
  // Of a line of the file; what is none is left out.
  void hear(const std::string& line);
  // Lines of a file; nothing where it is not there.
  void read(const std::string& path);
  std::map<AnswerSet, Said> sets;
};

// What these rows ran, by pattern, and is not measured yet; no sentences: all of them.
using WantedAnswers = std::map<AnswerSet, std::map<std::string, std::vector<int32_t>>>;
WantedAnswers wanted_answers(const std::vector<Json>& rows, const MeasuredAnswers& known);

// One process after the other, each with all cores; shows progress on a terminal. Each line also goes to `keep`. kCancelled
// after an interrupt: what was measured is kept there and in the cache (shards/plan_evaluator.h).
Status measure(const Experiment& experiment, const WantedAnswers& wanted,
               const std::function<Status(const std::string&)>& keep, MeasuredAnswers& answers);

// Fills accuracy, its interval and its key in; returns the scores that they come from, empty where nothing was measured.
Scores fill_accuracy(const MeasuredAnswers& answers, Json& row);

}  // namespace tessera
