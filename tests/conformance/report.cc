// Counts verdicts and renders them.
#include "tests/conformance/report.h"

#include <cstdio>

namespace tessera::conformance {
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

const char* word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPassed:
      return "passed";
    case Verdict::kFailed:
      return "failed";
    case Verdict::kSkipped:
      return "skipped";
    case Verdict::kExpectedFailure:
      return "expected failure";
  }
  return "";
}

std::string joined(const std::vector<std::string>& names) {
  constexpr size_t kMost = 6;
  std::string text;
  for (size_t i = 0; i < names.size() && i < kMost; ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kMost) text += " and " + std::to_string(names.size() - kMost) + " more";
  return text;
}

}  // namespace

Report& Report::now() {
  static Report report;
  return report;
}

void Report::add(const Subject& subject, const Check& check, const Judgement& judgement) {
  const std::string& device = subject.description.name;
  if (!rows_.contains(device)) order_.push_back(device);
  Row& row = rows_[device];
  ++row.counts[judgement.verdict];
  if (judgement.verdict != Verdict::kPassed)
    row.reasons[{judgement.verdict, first_line(judgement.text)}].push_back(check.name);
}

int Report::count(Verdict verdict) const {
  int sum = 0;
  for (const auto& [device, row] : rows_)
    if (const auto found = row.counts.find(verdict); found != row.counts.end()) sum += found->second;
  return sum;
}

std::string Report::text() const {
  std::string text;
  for (const std::string& device : order_) {
    const Row& row = rows_.at(device);
    const auto of = [&](Verdict verdict) {
      const auto found = row.counts.find(verdict);
      return found == row.counts.end() ? 0 : found->second;
    };
    char line[160];
    std::snprintf(line, sizeof line, "%-24s %4d passed %4d skipped %4d expected failures %4d failed\n", device.c_str(),
                  of(Verdict::kPassed), of(Verdict::kSkipped), of(Verdict::kExpectedFailure), of(Verdict::kFailed));
    text += line;
    for (const auto& [why, names] : row.reasons)
      text += "    " + std::string(word(why.first)) + " " + joined(names) + ": " + why.second + "\n";
  }
  return text;
}

}  // namespace tessera::conformance
