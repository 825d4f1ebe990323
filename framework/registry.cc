// Holds the process's registries, and words the error for a name that none of them knows.
#include "framework/registry.h"

#include <algorithm>
#include <numeric>

namespace tessera {
namespace {

// Levenshtein distance, one row at a time.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

// The known name that `given` was probably meant to be; empty where none is near.
std::string nearest(std::string_view given, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, (given.size() + 1) / 3) + 1;  // "--memory": "--memories"
  for (const std::string& name : known) {
    const bool cut_short = given.size() >= 2 && name.starts_with(given);
    const size_t distance = cut_short ? 1 : edit_distance(given, name);
    if (distance < best_distance && distance < std::max(given.size(), name.size())) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace

Registry<PolicyFactory>& policies() {
  static Registry<PolicyFactory> registry;
  return registry;
}

Registry<BackendFactory>& backends() {
  static Registry<BackendFactory> registry;
  return registry;
}

std::string unknown_name(std::string_view what, std::string_view given, const std::vector<std::string>& known) {
  std::string text = "unknown " + std::string(what) + " '" + std::string(given.substr(0, 100)) + "'";
  if (const std::string meant = nearest(given.substr(0, 100), known); !meant.empty())
    text += "; did you mean '" + meant + "'?";
  text += known.empty() ? "; none is known" : (text.back() == '?' ? " known: " : "; known: ");
  for (size_t i = 0; i < known.size(); ++i) text += (i == 0 ? "" : ", ") + known[i];
  return text;
}

}  // namespace tessera
