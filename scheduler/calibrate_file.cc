// Keeps calibration figures in a JSON file per machine.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 2;
constexpr const char* kProgram = "; tessera ";  // what follows it in a fingerprint is the program's
constexpr int64_t kLargestFile = 8 << 20;

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with("model name") && !line.starts_with("CPU part")) continue;
    const size_t colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return "unknown processor";
}

// A number within [least, most], or nothing: damaged files must not become costs.
bool number(const Json& object, const char* key, double least, double most, double& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return false;
  value = found->get<double>();
  return std::isfinite(value) && value >= least && value <= most;
}

bool whole(const Json& object, const char* key, int64_t least, int64_t most, int64_t& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return false;
  value = found->get<int64_t>();
  return value >= least && value <= most;
}

constexpr int64_t kLongest = 1'000'000'000'000;  // ns; no calibrated task takes longer

Json storage_json(const StorageFigures& s) {
  return {{"a", s.fit.a},
          {"b", s.fit.b},
          {"c", s.fit.c},
          {"relative_spread", s.fit.relative_spread},
          {"samples", s.fit.samples},
          {"per_read_ns", s.per_read.ns}};
}

bool read_storage(const Json& j, StorageFigures& s) {
  return number(j, "a", 0, 1, s.fit.a) && number(j, "b", 0, 4, s.fit.b) && number(j, "c", 0, 1000, s.fit.c) &&
         number(j, "relative_spread", 0, 1000, s.fit.relative_spread) && whole(j, "samples", 0, INT64_MAX, s.fit.samples) &&
         whole(j, "per_read_ns", 0, kLongest, s.per_read.ns);
}

Json point_json(const CostPoint& p) {
  int level = 0;
  for (int i = 1; i < kBitsLevels; ++i)
    if (p.key.bits[i] > 0) level = i;
  return {{"op", static_cast<int>(p.key.op)},
          {"tokens", p.key.tokens},
          {"slices", p.key.slices},
          {"bits", level_bits(level)},
          {"decoded", p.key.decoded},
          {"mean_ns", p.estimate.mean.ns},
          {"p95_ns", p.estimate.p95.ns},
          {"variance_ns2", p.estimate.variance_ns2},
          {"workspace", p.estimate.workspace.n},
          {"samples", p.estimate.samples}};
}

bool read_point(const Json& j, CostPoint& p) {
  int64_t op = 0, tokens = 0, slices = 0, bits = 0;
  if (!whole(j, "op", 0, kOpCount - 1, op) || !whole(j, "tokens", 1, UINT16_MAX, tokens)) return false;
  if (!whole(j, "slices", 0, kMaxSlices, slices) || !whole(j, "bits", 0, kExact, bits)) return false;
  if (bits != 0 && !valid_bits(static_cast<int>(bits))) return false;
  const auto decoded = j.find("decoded");
  if (decoded == j.end() || !decoded->is_boolean()) return false;
  p.key.op = static_cast<Op>(op);
  p.key.tokens = static_cast<uint16_t>(tokens);
  p.key.slices = static_cast<uint8_t>(slices);
  p.key.decoded = decoded->get<bool>();
  if (bits != 0) p.key.bits[bits_level(static_cast<Bits>(bits))] = static_cast<uint8_t>(slices);
  Estimate& e = p.estimate;
  e.provenance = Provenance::kMeasured;
  return whole(j, "mean_ns", 1, kLongest, e.mean.ns) && whole(j, "p95_ns", e.mean.ns, kLongest, e.p95.ns) &&
         number(j, "variance_ns2", 0, 1e24, e.variance_ns2) && whole(j, "workspace", 0, int64_t{1} << 48, e.workspace.n) &&
         whole(j, "samples", 1, INT64_MAX, e.samples);
}

bool numbers(const Json& j, const char* key, std::vector<double>& list) {
  const auto found = j.find(key);
  if (found == j.end() || !found->is_array() || found->size() > 1000) return false;
  for (const Json& value : *found) {
    if (!value.is_number()) return false;
    list.push_back(value.get<double>());  // restore() refuses what cannot be
  }
  return true;
}

bool read_learned(const Json& j, LearnedWindow& w) {
  int64_t kind = 0;
  if (!whole(j, "kind", 0, INT32_MAX, kind) || !whole(j, "samples", 0, INT64_MAX, w.samples)) return false;
  w.kind = static_cast<int>(kind);
  return numbers(j, "ratios", w.ratios);
}

bool read_request(const Json& j, RequestWindow& w) {
  const auto policy = j.find("policy"), first = j.find("first");
  if (policy == j.end() || !policy->is_string() || first == j.end() || !first->is_boolean()) return false;
  w.kind = {policy->get<std::string>(), first->get<bool>()};
  return number(j, "quantile", 0.5, 1, w.quantile) && numbers(j, "middle", w.middle) && numbers(j, "high", w.high) &&
         numbers(j, "setup_ns", w.setup_ns);
}

Json request_json(const RequestWindow& w) {
  return {{"policy", w.kind.policy}, {"first", w.kind.first}, {"quantile", w.quantile},
          {"middle", w.middle},      {"high", w.high},        {"setup_ns", w.setup_ns}};
}

Json device_json(const DeviceFigures& d) {
  Json j = {{"name", d.name}, {"points", Json::array()}, {"learned", Json::array()}};
  if (d.storage) j["storage"] = storage_json(*d.storage);
  for (const CostPoint& p : d.points) j["points"].push_back(point_json(p));
  for (const LearnedWindow& w : d.learned) {
    j["learned"].push_back({{"kind", w.kind}, {"samples", w.samples}, {"ratios", w.ratios}});
  }
  return j;
}

template <typename T>
bool read_list(const Json& j, const char* key, bool (*read)(const Json&, T&), std::vector<T>& list) {
  const auto found = j.find(key);
  if (found == j.end() || !found->is_array() || found->size() > 100'000) return false;
  for (const Json& entry : *found) {
    T value;
    if (!entry.is_object() || !read(entry, value)) return false;
    list.push_back(std::move(value));
  }
  return true;
}

bool read_device(const Json& j, DeviceFigures& d) {
  const auto name = j.find("name");
  if (name == j.end() || !name->is_string()) return false;
  d.name = name->get<std::string>();
  if (const auto storage = j.find("storage"); storage != j.end()) {
    d.storage.emplace();
    if (!storage->is_object() || !read_storage(*storage, *d.storage)) return false;
  }
  return read_list(j, "points", read_point, d.points) && read_list(j, "learned", read_learned, d.learned);
}

Error bad(const std::string& path, const std::string& what) {
  return {ErrorCode::kData, path + ": " + what + "; `tessera calibrate` makes it again"};
}

Error unwritten(const std::string& path, const std::string& why) {
  return {ErrorCode::kData, path + ": cannot be written: " + why + "; this machine is calibrated anew each time"};
}

Status write_new(const std::string& path, const std::string& text) {
  const auto failed = [&] { return unwritten(path, std::generic_category().message(errno)); };
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return failed();
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  const bool whole_text = done == text.size();
  Status status = whole_text ? Status() : failed();
  ::close(fd);
  return status;
}

}  // namespace

std::string default_directory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && cache[0] == '/') {
    return std::string(cache) + "/tessera";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.cache/tessera";
  return {};
}

std::string fingerprint_of(const Machine& machine, const Store& store, const CalibrationOptions& options) {
  std::ostringstream out;
  struct utsname system {};
  ::uname(&system);
  out << processor() << " x" << ::sysconf(_SC_NPROCESSORS_ONLN) << "; " << system.sysname << ' ' << system.release << ' '
      << system.machine;
  for (size_t d = 0; d < machine.bindings.size(); ++d) {
    const DeviceDescription& device = machine.platform.devices[d];
    out << "; " << device.name << " threads " << device.threads;
    for (const auto& [key, value] : device.properties) out << ", " << key << ' ' << value;
  }
  struct stat file {};
  struct statfs system_of_files {};
  ::stat(store.directory().c_str(), &file);
  ::statfs(store.directory().c_str(), &system_of_files);
  out << "; disk " << file.st_dev << " type " << system_of_files.f_type << (options.cold ? " cold" : " warm");
  const ModelShape& s = store.shape();
  out << "; model " << s.layers << 'x' << s.slices << " hidden " << s.hidden << " ffn " << s.ffn << " labels " << s.labels
      << " tokens " << s.max_tokens << " exact " << s.stored_exact_bits << " codec " << store.codec() << " bits";
  for (Bits b : s.bitwidths) out << ' ' << static_cast<int>(b);
  out << kProgram << options.version << " format " << kFormat;
  return out.str();
}

std::string file_of(const std::string& directory, const std::string& fingerprint) {
  char name[64];
  std::snprintf(name, sizeof name, "/calibration-%016zx.json",
                std::hash<std::string_view>{}(std::string_view(fingerprint).substr(0, fingerprint.rfind(kProgram))));
  return directory + name;
}

Result<Figures> read_figures(const std::string& path, const std::string& fingerprint, bool* found) {
  std::error_code failed;
  *found = std::filesystem::exists(path, failed);
  if (*found && !std::filesystem::is_regular_file(path, failed)) return bad(path, "is not a regular file");
  std::ifstream in(path, std::ios::binary);
  *found = in.good();
  Figures figures;
  if (!in) return figures;
  in.seekg(0, std::ios::end);
  const auto size = static_cast<int64_t>(in.tellg());
  in.seekg(0);
  std::string text(static_cast<size_t>(std::clamp<int64_t>(size, 0, kLargestFile)), '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  const Json j = Json::parse(text, nullptr, false);
  if (!j.is_object()) return bad(path, "is not a calibration file (no JSON object)");
  int64_t format = 0;
  if (!whole(j, "tessera_calibration", 0, INT64_MAX, format)) return bad(path, "is not a calibration file");
  if (format != kFormat) {
    return bad(path, "has format " + std::to_string(format) + ", " + std::to_string(kFormat) + " expected");
  }
  const auto of = j.find("fingerprint"), created = j.find("created");
  if (of == j.end() || !of->is_string() || of->get<std::string>() != fingerprint)
    return bad(path, "was measured on another machine, or by another build");
  if (created == j.end() || !created->is_string()) return bad(path, "is damaged (no date)");
  figures.fingerprint = fingerprint;
  figures.created = created->get<std::string>();
  if (!read_list(j, "devices", read_device, figures.devices) || !read_list(j, "requests", read_request, figures.requests))
    return bad(path, "is damaged (a figure is missing or impossible)");
  return figures;
}

Status write_figures(const std::string& path, const Figures& figures) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return unwritten(path, error.message());
  Json j = {{"tessera_calibration", kFormat},
            {"fingerprint", figures.fingerprint},
            {"created", figures.created},
            {"devices", Json::array()},
            {"requests", Json::array()}};
  for (const DeviceFigures& d : figures.devices) j["devices"].push_back(device_json(d));
  for (const RequestWindow& w : figures.requests) j["requests"].push_back(request_json(w));
  const std::string beside = path + "." + std::to_string(::getpid()) + ".tmp";
  std::filesystem::remove(beside, error);
  Status status = write_new(beside, j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  if (status.ok() && ::rename(beside.c_str(), path.c_str()) != 0) {
    status = unwritten(path, std::generic_category().message(errno));
  }
  if (!status.ok()) std::filesystem::remove(beside, error);
  return status;
}

}  // namespace tessera::calibration
