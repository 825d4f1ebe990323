// Feeds bytes to the reader of experiments; of one that is accepted and holds together, every cell is of what it names.
#include <cstdlib>

#include "configs/loader.h"
#include "text_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  static const fuzz::TextFile file("experiment.toml");
  file.write(fuzz::as_text(data, size));
  Result<Experiment> experiment = load_experiment(file.path());
  if (!experiment.ok()) return 0;
  (void)check_experiment(*experiment);  // no policy is registered here, so that it refuses whoever competes
  const double cells = static_cast<double>(experiment->workloads.size() * experiment->seeds.size());
  double budgets = 0;
  for (const Arena& arena : experiment->arenas)
    budgets += static_cast<double>(arena.latencies.size() * arena.memories.size() * arena.preloads.size());
  if (cells * budgets * static_cast<double>(experiment->contenders.size()) > 10'000) return 0;
  for (const Cell& cell : cells_of(*experiment))
    if (cell.arena >= experiment->arenas.size() || cell.contender >= experiment->contenders.size()) std::abort();
  return 0;
}
