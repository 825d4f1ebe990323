// Runs policies on simulated machines by seed and compares every instant with what is written in tests/golden: equal on
// every processor, or the simulator is not exact. TESSERA_UPDATE_GOLDEN=1 writes the file anew, for changes that are meant.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/simulation/simulated.h"

namespace tessera {
namespace {

using testing::asked;
using testing::Simulated;

const std::string kFile = std::string(TESSERA_SOURCE_DIR) + "/tests/golden/simulated_runs.txt";

// Every task's start, end and state, of all attempts.
uint64_t trace_hash(const Answer& answer) {
  uint64_t hash = 0;
  const auto add = [&](const RunReport& report) {
    for (const TaskTiming& t : report.tasks)
      hash = hash_draw(
          {hash, static_cast<uint64_t>(t.start.ns), static_cast<uint64_t>(t.end.ns), static_cast<uint64_t>(t.state)});
  };
  for (const TakenOver& lost : answer.taken_over) add(lost.report);
  add(answer.report);
  return hash;
}

std::string line_of(const Answer& answer) {
  std::ostringstream line;
  if (answer.planned->infeasible) {
    line << "infeasible";
    return line.str();
  }
  line << "latency " << answer.latency.ns << " ns, io " << answer.io.n << ", peak " << answer.peak.n << ", taken over "
       << answer.taken_over.size() << ", trace " << std::hex << trace_hash(answer);
  return line.str();
}

// Three requests a machine: at its beginning, just before and after the trio loses its GPU, and when all is warm.
std::string runs(const std::string& platform, const std::string& policy, uint64_t seed) {
  Simulated s(platform, seed);
  std::ostringstream out;
  uint64_t draw = 0;
  for (const Duration start : {Duration{}, milliseconds(1950), milliseconds(4000)}) {
    const auto answer = s.run(asked(policy, milliseconds(900), start, draw));
    out << platform << ' ' << policy << " seed " << seed << " request " << draw++ << ": "
        << (answer.ok() ? line_of(*answer) : answer.error().message) << '\n';
  }
  return out.str();
}

TEST(GoldenRuns, AreTheSameToTheNanosecondOnEveryMachine) {
  std::string all;
  for (const char* platform : {"phone", "sti-board-swing", "trio-board-loss"})
    for (const char* policy : {"heft", "load-exec", "std-pipeline", "sti"})
      for (const uint64_t seed : {1, 2}) all += runs(platform, policy, seed);
  if (std::getenv("TESSERA_UPDATE_GOLDEN") != nullptr) std::ofstream(kFile) << all;
  std::ifstream in(kFile);
  std::istringstream now(all);
  int lines = 0;
  for (std::string want, got; std::getline(now, got); ++lines) {
    std::getline(in, want);
    EXPECT_EQ(got, want) << "where a plan has changed on purpose, run this test with TESSERA_UPDATE_GOLDEN=1";
  }
  EXPECT_EQ(lines, 3 * 4 * 2 * 3);
}

}  // namespace
}  // namespace tessera
