// Feeds bytes to the reader of workloads; arrivals of one that it accepts ascend. What follows a line "----" is the file of
// recorded times, my.times.
#include <algorithm>
#include <cstdlib>

#include "configs/loader.h"
#include "text_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera;
  constexpr std::string_view kCut = "\n----\n";
  static const fuzz::TextFile file("workload.toml"), times("my.times");
  const std::string_view text = fuzz::as_text(data, size);
  const size_t cut = text.find(kCut);
  file.write(text.substr(0, cut));
  times.write(cut == std::string_view::npos ? "1 s\n" : text.substr(cut + kCut.size()));
  const Result<Workload> workload = load_workload(file.path());
  if (!workload.ok()) return 0;
  for (const WorkloadApp& app : workload->apps) {
    Arrivals some = app.arrivals;
    some.requests = std::min(some.requests, 100);  // enough to see
    const std::vector<Duration> arrive = arrival_times(some, 1);
    if (!std::is_sorted(arrive.begin(), arrive.end()) || arrive.front() < Duration{}) std::abort();
  }
  return 0;
}
