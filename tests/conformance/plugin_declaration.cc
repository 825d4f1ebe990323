// Reads what a loaded backend declares about itself from a file beside its library.
#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/conformance/declaration.h"

namespace tessera::conformance {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kDefaultTolerance = 1e-4;  // fp32 sums in any order stay well within it

bool read_excuses(const json& file, const char* key, std::vector<Excuse>& excuses) {
  const auto found = file.find(key);
  if (found == file.end()) return true;
  if (!found->is_object()) return false;
  for (const auto& [test, why] : found->items()) {
    if (!why.is_string()) return false;
    excuses.push_back({test, why.get<std::string>()});
  }
  return true;
}

Declaration read(const std::string& path, Declaration declaration) {
  const Declaration unreadable{.backend = declaration.backend,
                               .unsupported = {},
                               .expected_failures = {{path, "is not a declaration; see tests/conformance/declaration.h"}}};
  std::ifstream in(path);
  const json file = json::parse(in, nullptr, false);
  if (!file.is_object()) return unreadable;
  for (const auto& [key, value] : file.items()) {
    if (key == "tolerance" && value.is_number() && value.get<double>() >= 0) {
      declaration.tolerance = value.get<double>();
    } else if (key == "computes" && value.is_boolean()) {
      declaration.computes = value.get<bool>();
    } else if (key == "probe_unavailable" && value.is_boolean()) {
      declaration.probe_unavailable = value.get<bool>();
    } else if (key != "unsupported" && key != "expected_failures") {
      return unreadable;
    }
  }
  const bool read = read_excuses(file, "unsupported", declaration.unsupported) &&
                    read_excuses(file, "expected_failures", declaration.expected_failures);
  return read ? declaration : unreadable;
}

}  // namespace

Declaration declaration_of_plugin(const std::string& backend, const std::string& search) {
  const Declaration plain{.backend = backend, .tolerance = kDefaultTolerance, .unsupported = {}, .expected_failures = {}};
  std::istringstream places(search);
  std::string place;
  while (std::getline(places, place, ':')) {
    std::error_code error;
    const fs::path folder = fs::is_directory(place, error) ? fs::path(place) : fs::path(place).parent_path();
    const fs::path file = folder / (backend + ".conformance.json");
    if (!place.empty() && fs::exists(file, error)) return read(file.string(), plain);
  }
  return plain;
}

}  // namespace tessera::conformance
