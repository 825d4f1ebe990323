// Reads knobs by name and refuses what it does not know.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/policy.h"

namespace tessera {

// kInvalid where a knob is given that the policy does not describe.
Status check_knob_names(const Policy& policy, const Knobs& knobs);
// The knob's value, or its first allowed one where it is not given; kInvalid for any other.
Result<std::string> knob_choice(const Knobs& knobs, std::string_view name, const std::vector<std::string>& allowed);

// A whole number within [least, most], `fallback` where it is not given.
Result<int> knob_number(const Knobs& knobs, std::string_view name, int fallback, int least, int most);

}  // namespace tessera
