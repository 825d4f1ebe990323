// Reads a workload from a TOML file, and the recorded times that it names.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "configs/loader.h"
#include "configs/toml_table.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using configs::beside;
using configs::TomlTable;

constexpr int64_t kMostApps = 64;
constexpr uintmax_t kLargestTimes = 16 << 20;
constexpr Duration kLongestTime{int64_t{366} * 24 * kLongestGap.ns};  // a year

Result<Duration> gap(TomlTable& file, std::string_view key, Duration fallback) {
  TESSERA_ASSIGN(const Duration value, file.duration(key, fallback));
  if (value > kLongestGap) return file.error(key, std::string(key) + " is above an hour, the longest gap of a workload");
  return value;
}

// One time a line, "12.5 s", ascending; what follows '#' is a comment.
Result<std::vector<Duration>> read_times(const std::string& path) {
  std::error_code failed;
  if (!fs::is_regular_file(path, failed))
    return Error{ErrorCode::kData, path + ": no such file of recorded times; one time a line, as in \"12.5 s\""};
  if (fs::file_size(path, failed) > kLargestTimes || failed) return Error{ErrorCode::kData, path + ": larger than 16 MiB"};
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{ErrorCode::kData, path + ": cannot be opened"};
  std::vector<Duration> times;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const auto bad = [&](const std::string& what) {
      return Error{ErrorCode::kInvalid, path + ":" + std::to_string(number) + ": " + what};
    };
    line = line.substr(0, line.find('#'));
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    const auto time = parse_duration(line);
    if (!time.ok()) return bad(time.error().message);
    if (*time > kLongestTime) return bad("'" + line + "' is more than a year after the start");
    if (!times.empty() && *time < times.back())
      return bad("'" + line + "' is before the line above it; recorded times ascend, from the start of the recording");
    if (times.size() >= static_cast<size_t>(kMostRequests))
      return bad("more than " + std::to_string(kMostRequests) + " times; split the recording");
    times.push_back(*time);
  }
  if (in.bad()) return Error{ErrorCode::kData, path + ": cannot be read"};
  if (times.empty()) return Error{ErrorCode::kInvalid, path + ": holds no times; one time a line, as in \"12.5 s\""};
  return times;
}

// [least, most] of how many, or of how long.
Status read_burst(TomlTable& file, Arrivals& arrivals) {
  TESSERA_ASSIGN(const auto burst, file.integers("burst", 1, kMostRequests));
  if (burst.size() != 2 || burst[0] > burst[1])
    return file.error("burst", "burst must be [least, most] requests, as in [4, 12]");
  arrivals.burst_least = static_cast<int>(burst[0]);
  arrivals.burst_most = static_cast<int>(burst[1]);
  TESSERA_ASSIGN(const auto step, file.texts("step"));
  if (step.size() != 2)
    return file.error("step", "a burst needs step = [least, most] between its requests, as in [\"150 ms\", \"400 ms\"]");
  for (size_t i = 0; i < 2; ++i) {
    const auto time = parse_duration(step[i]);
    if (!time.ok()) return file.error("step", "step: " + time.error().message);
    if (*time > kLongestGap) return file.error("step", "step: '" + step[i] + "' is above an hour");
    (i == 0 ? arrivals.step_least : arrivals.step_most) = *time;
  }
  if (arrivals.step_least > arrivals.step_most) return file.error("step", "step must be [least, most]");
  return {};
}

Result<Arrivals::Kind> read_kind(TomlTable& file) {
  TESSERA_ASSIGN(const std::string name, file.text("kind"));
  if (name == "regular") return Arrivals::Kind::kRegular;
  if (name == "poisson") return Arrivals::Kind::kPoisson;
  if (name == "bursts") return Arrivals::Kind::kBursts;
  if (name == "recorded") return Arrivals::Kind::kRecorded;
  return file.error("kind", "unknown kind of arrivals '" + name + "'; known: regular, poisson, bursts, recorded");
}

Result<Arrivals> read_arrivals(TomlTable& file, const std::string& path) {
  Arrivals arrivals;
  TESSERA_ASSIGN(arrivals.kind, read_kind(file));
  TESSERA_ASSIGN(arrivals.first, gap(file, "first", {}));
  if (arrivals.kind == Arrivals::Kind::kRecorded) {
    TESSERA_ASSIGN(const std::string times, file.text("file"));
    if (times.empty()) return file.error("file", "file is empty; give a file of recorded times");
    TESSERA_ASSIGN(arrivals.times, read_times(beside(path, times)));
    arrivals.requests = static_cast<int>(arrivals.times.size());
  } else {
    TESSERA_TRY(file.need("interval", "10 s"));
    TESSERA_ASSIGN(arrivals.interval, gap(file, "interval", {}));
  }
  if (arrivals.kind == Arrivals::Kind::kBursts) TESSERA_TRY(read_burst(file, arrivals));
  if (arrivals.kind != Arrivals::Kind::kRecorded || file.has("requests")) {
    const int most = arrivals.kind == Arrivals::Kind::kRecorded ? arrivals.requests : kMostRequests;
    TESSERA_ASSIGN(const int64_t requests, file.integer("requests", 1, most));
    arrivals.requests = static_cast<int>(requests);
  }
  TESSERA_TRY(file.finish());
  return arrivals;
}

// Which model, on which data.
Status read_model(TomlTable& file, const std::string& path, WorkloadApp& app) {
  for (const auto& [key, to] :
       {std::pair<const char*, std::string*>{"model", &app.model}, {"shape", &app.shape}, {"data", &app.data}}) {
    if (!file.has(key)) continue;
    TESSERA_ASSIGN(const std::string value, file.text(key));
    if (value.empty()) return file.error(key, std::string(key) + " is empty; leave the key out for the experiment's own");
    *to = beside(path, value);
  }
  if (!app.model.empty() && !app.shape.empty())
    return file.error("shape", "model and shape are two models; give one, or neither for the experiment's own");
  if (!app.shape.empty() && !app.data.empty())
    return file.error("data", "a shape has no weights to run on data; give tokens instead");
  return {};
}

Result<WorkloadApp> read_app(TomlTable& file, const std::string& path) {
  WorkloadApp app;
  TESSERA_ASSIGN(app.name, file.text("name"));
  TESSERA_TRY(read_model(file, path, app));
  if (file.has("latency")) {
    TESSERA_ASSIGN(app.latency, file.duration("latency", {}));
    if (file.has("latency_percent"))
      return file.error("latency_percent", "latency and latency_percent are two budgets; give one");
  }
  if (file.has("latency_percent")) {
    TESSERA_ASSIGN(const int64_t percent, file.integer("latency_percent", 1, 100'000));
    app.latency_percent = static_cast<int>(percent);
  }
  if (file.has("preload")) { TESSERA_ASSIGN(app.preload, file.bytes("preload", {})); }
  if (file.has("tokens")) {
    TESSERA_ASSIGN(const int64_t tokens, file.integer("tokens", 1, 1 << 15));
    app.tokens = static_cast<int>(tokens);
  }
  TESSERA_ASSIGN(app.preloaded, file.boolean("preloaded", true));
  if (file.has("reclaimed_after")) { TESSERA_ASSIGN(app.reclaimed_after, file.duration("reclaimed_after", {})); }
  TESSERA_ASSIGN(TomlTable arrivals, file.table("arrivals"));
  TESSERA_ASSIGN(app.arrivals, read_arrivals(arrivals, path));
  TESSERA_TRY(file.finish());
  return app;
}

Result<Workload::Hopeless> read_hopeless(TomlTable& file) {
  if (!file.has("hopeless")) return Workload::Hopeless::kBestEffort;
  TESSERA_ASSIGN(const std::string name, file.text("hopeless"));
  if (name == "best-effort") return Workload::Hopeless::kBestEffort;
  if (name == "drop") return Workload::Hopeless::kDrop;
  return file.error("hopeless", "unknown way with hopeless requests '" + name + "'; known: best-effort, drop");
}

}  // namespace

Result<Workload> load_workload(const std::string& path) {
  TESSERA_ASSIGN(const toml::table document, configs::parse_toml(path));
  TomlTable file(document, path);
  Workload workload;
  TESSERA_ASSIGN(workload.name, file.text("name"));
  if (file.has("source")) { TESSERA_ASSIGN(workload.source, file.text("source")); }
  if (file.has("memory")) { TESSERA_ASSIGN(workload.memory, file.bytes("memory", {})); }
  TESSERA_ASSIGN(workload.latency_grid, gap(file, "latency_grid", workload.latency_grid));
  if (workload.latency_grid.ns < 1) return file.error("latency_grid", "latency_grid is 0; the finest grid is \"1 ns\"");
  TESSERA_ASSIGN(workload.hopeless, read_hopeless(file));
  TESSERA_ASSIGN(auto apps, file.tables("app"));
  if (apps.empty()) return file.error("app", "a workload needs at least one app, [[app]]");
  if (apps.size() > kMostApps) return file.error("app", "more than 64 apps");
  int64_t requests = 0;
  for (TomlTable& table : apps) {
    TESSERA_ASSIGN(WorkloadApp app, read_app(table, path));
    const auto same = std::find_if(workload.apps.begin(), workload.apps.end(),
                                   [&](const WorkloadApp& other) { return other.name == app.name; });
    if (same != workload.apps.end()) return table.error("name", "there are two apps named '" + app.name + "'");
    requests += app.arrivals.requests;
    workload.apps.push_back(std::move(app));
  }
  if (requests > kMostRequests)
    return file.error("app", "the apps make " + std::to_string(requests) + " requests, more than " +
                                 std::to_string(kMostRequests) + " together");
  TESSERA_TRY(file.finish());
  return workload;
}

}  // namespace tessera
