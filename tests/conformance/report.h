// Counts what became of the checks, device by device, and tells it at the end.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/conformance/subject.h"

namespace tessera::conformance {

class Report {
 public:
  static Report& now();  // of this process
  void add(const Subject& subject, const Check& check, const Judgement& judgement);
  // A line for each device (passed, skipped, expected failures, failed), below it each reason with its checks.
  std::string text() const;
  int passed() const { return count(Verdict::kPassed); }
  int skipped() const { return count(Verdict::kSkipped); }

 private:
  struct Row {
    std::map<Verdict, int> counts;
    // Checks by verdict and reason (its first line).
    std::map<std::pair<Verdict, std::string>, std::vector<std::string>> reasons;
  };
  int count(Verdict verdict) const;
  std::vector<std::string> order_;
  std::map<std::string, Row> rows_;
};

}  // namespace tessera::conformance
