// Names machines, devices and programs in words, and the file that holds a machine's figures.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <sstream>

#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

// What a backend may show of its tuning: that is kept with the figures, and no property of the device.
constexpr const char* kTuningProperty = "tuning";

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

}  // namespace

std::string default_directory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && cache[0] == '/') {
    return std::string(cache) + "/tessera";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
    return std::string(home) + "/.cache/tessera";
  return {};
}

std::string fingerprint_of(const Store& store, const CalibrationOptions& options) {
  std::ostringstream out;
  struct utsname system {};
  ::uname(&system);
  out << processor() << " x" << ::sysconf(_SC_NPROCESSORS_ONLN) << "; " << system.sysname << ' ' << system.release << ' '
      << system.machine;
  struct stat file {};
  struct statfs system_of_files {};
  ::stat(store.directory().c_str(), &file);
  ::statfs(store.directory().c_str(), &system_of_files);
  out << "; disk " << file.st_dev << " type " << system_of_files.f_type << (options.cold ? " cold" : " warm");
  const ModelShape& s = store.shape();
  out << "; model " << s.layers << 'x' << s.slices << " hidden " << s.hidden << " ffn " << s.ffn << " labels " << s.labels
      << " tokens " << s.max_tokens << " exact " << s.stored_exact_bits << " codec " << store.codec() << " bits";
  for (Bits b : s.bitwidths) out << ' ' << static_cast<int>(b);
  return out.str();
}

std::string identity_of(const DeviceDescription& device) {
  std::string words = device.name + " of " + device.backend + ", " + std::to_string(device.threads) + " threads";
  if (device.emulated) words += ", emulated";
  for (const auto& [key, value] : device.properties)
    if (key != kTuningProperty) words += ", " + key + ' ' + value;
  return words;
}

std::string program_of(const CalibrationOptions& options) { return "tessera " + options.version; }

std::string now_in_words() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string file_of(const std::string& directory, const std::string& fingerprint) {
  char name[64];
  std::snprintf(name, sizeof name, "/calibration-%016zx.json", std::hash<std::string>{}(fingerprint));
  return directory + name;
}

DeviceFigures* Figures::find(const std::string& identity) {
  for (DeviceFigures& d : devices)
    if (d.identity == identity) return &d;
  return nullptr;
}

}  // namespace tessera::calibration
