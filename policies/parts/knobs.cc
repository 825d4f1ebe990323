// Words the errors of knobs that cannot be understood.
#include "policies/parts/knobs.h"

#include <algorithm>

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

}  // namespace tessera
