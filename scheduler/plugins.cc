// Finds plug-ins along a path, remembers which were tried, and registers what they have.
#include "scheduler/plugins.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <dlfcn.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "framework/plugin.h"
#include "scheduler/calibrate_parts.h"
#include "scheduler/plugin_probe.h"
#include "shards/hash.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// ---- what is on the path

// Adds a file once, whatever names lead to it.
void add_file(const fs::path& path, std::vector<Plugin>& found) {
  std::error_code failed;
  const fs::path real = fs::canonical(path, failed);
  const std::string name = failed ? fs::absolute(path, failed).string() : real.string();
  if (std::any_of(found.begin(), found.end(), [&](const Plugin& p) { return p.path == name; })) return;
  found.push_back({name, {}, {}, {}});
  if (!fs::exists(path, failed)) found.back().refused = "no such file or folder; it is named in TESSERA_PLUGIN_PATH";
}

void add_folder(const fs::path& folder, std::vector<Plugin>& found) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed))
    if (at->path().extension() == ".so") files.push_back(at->path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) add_file(file, found);
  if (failed) found.push_back({folder.string(), {}, {}, "cannot be listed: " + failed.message()});
}

std::vector<Plugin> search(const std::string& path) {
  std::vector<Plugin> found;
  std::istringstream places(path);
  std::string place;
  while (std::getline(places, place, ':')) {
    std::error_code failed;
    if (place.empty()) continue;
    if (fs::is_directory(place, failed))
      add_folder(place, found);
    else
      add_file(place, found);
  }
  return found;
}

// ---- the cache: one file for each plug-in that was tried and found good

// Changes whenever the file does: content cannot change without its change time.
Json state_of(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return nullptr;
  return {{"path", path},
          {"inode", file.st_ino},
          {"size", file.st_size},
          {"modified_ns", int64_t{file.st_mtim.tv_sec} * 1'000'000'000 + file.st_mtim.tv_nsec},
          {"changed_ns", int64_t{file.st_ctim.tv_sec} * 1'000'000'000 + file.st_ctim.tv_nsec}};
}

// A plug-in that this program has tried, and that has not changed since: neither has this program.
Json record_of(const std::string& path) {
  Dl_info self{};
  ::dladdr(reinterpret_cast<const void*>(&probe_plugin), &self);
  return {{"tessera_plugin", kPluginApi},
          {"plugin", state_of(path)},
          {"program", state_of(self.dli_fname != nullptr ? self.dli_fname : "")},
          {"toolchain", TESSERA_TOOLCHAIN},
          {"layout", plugin_layout()}};
}

std::string file_of(const std::string& directory, const std::string& path) {
  return directory + "/" + content_digest(std::as_bytes(std::span(path))) + ".json";
}

bool was_good(const std::string& file, const Json& record) {
  std::ifstream in(file, std::ios::binary);
  return in.good() && Json::parse(in, nullptr, false) == record;
}

// Best effort: where it cannot be written, the plug-in is tried again.
void remember(const std::string& file, const Json& record) {
  std::error_code failed;
  fs::create_directories(fs::path(file).parent_path(), failed);
  const std::string beside = file + "." + std::to_string(::getpid()) + ".tmp";
  std::ofstream out(beside, std::ios::binary);
  out << record.dump(1) << "\n";
  out.close();
  if (out) fs::rename(beside, file, failed);
  if (!out || failed) fs::remove(beside, failed);
}

// ---- loading

template <typename Factory>
void add_names(const Registry<Factory>& from, Registry<Factory>& to, const char* kind, std::vector<std::string>& names,
               std::string& refused) {
  for (const auto& entry : from.entries()) {
    if (const auto* taken = to.find(entry.name)) {
      refused += (refused.empty() ? "" : "; ") + std::string(kind) + " '" + entry.name + "' is taken by " +
                 (taken->source.empty() ? "this program" : taken->source) + "; give it another name";
      continue;
    }
    to.add(entry);
    names.push_back(entry.name);
  }
}

void load(Plugin& plugin, const PluginOptions& options) {
  const Json record = record_of(plugin.path);
  const std::string file = options.cache_directory.empty() ? "" : file_of(options.cache_directory, plugin.path);
  if (file.empty() || !was_good(file, record)) {
    if (const Status tried = probe_plugin(plugin.path, options.limit); !tried.ok()) {
      plugin.refused = tried.error().message;
      return;
    }
    if (!file.empty()) remember(file, record);
  }
  const auto contents = open_plugin(plugin.path);
  if (!contents.ok()) {
    plugin.refused = contents.error().message;
    return;
  }
  add_names(contents->policies, policies(), "policy", plugin.policies, plugin.refused);
  add_names(contents->backends, backends(), "backend", plugin.backends, plugin.refused);
}

}  // namespace

std::vector<Plugin> load_plugins(const std::string& search_path, const PluginOptions& options) {
  PluginOptions where = options;
  if (where.cache_directory.empty()) {
    const std::string cache = calibration::default_directory();
    if (!cache.empty()) where.cache_directory = cache + "/plugins";
  }
  std::vector<Plugin> found = search(search_path);
  for (Plugin& plugin : found)
    if (plugin.refused.empty()) load(plugin, where);
  return found;
}

std::vector<Plugin> load_plugins() {
  const char* const path = ::secure_getenv("TESSERA_PLUGIN_PATH");
  return path != nullptr ? load_plugins(path) : std::vector<Plugin>();
}

}  // namespace tessera
