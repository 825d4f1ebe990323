// Words the errors of knobs that cannot be understood.
#include "policies/parts/knobs.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>

#include "framework/registry.h"

namespace tessera {

Status check_knob_names(const Policy& policy, const Knobs& knobs) {
  std::vector<std::string> known;
  for (const KnobDescription& knob : policy.knobs()) known.push_back(knob.name);
  for (const auto& [name, value] : knobs)
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Error{ErrorCode::kInvalid, "policy " + std::string(policy.name()) + ": " + unknown_name("knob", name, known)};
  return {};
}

Result<std::string> knob_choice(const Knobs& knobs, std::string_view name, const std::vector<std::string>& allowed) {
  const auto given = knobs.find(name);
  if (given == knobs.end()) return allowed.front();
  if (std::find(allowed.begin(), allowed.end(), given->second) != allowed.end()) return given->second;
  return Error{ErrorCode::kInvalid, "knob " + std::string(name) + ": " + unknown_name("value", given->second, allowed)};
}

Result<int> knob_number(const Knobs& knobs, std::string_view name, int fallback, int least, int most) {
  const auto given = knobs.find(name);
  if (given == knobs.end()) return fallback;
  int value = 0;
  const char* end = given->second.data() + given->second.size();
  const auto [stop, error] = std::from_chars(given->second.data(), end, value);
  if (error == std::errc() && stop == end && value >= least && value <= most) return value;
  return Error{ErrorCode::kInvalid, "knob " + std::string(name) + ": '" + given->second + "' is not a whole number from " +
                                        std::to_string(least) + " to " + std::to_string(most)};
}

}  // namespace tessera
