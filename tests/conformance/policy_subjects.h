// Which policies are held to the contract, and who ends one that never answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/result.h"

namespace tessera::conformance {

// As --policy says: "my-policy,other", or "plugins": those that TESSERA_PLUGIN_PATH brought. kInvalid for a name that is
// neither built in nor loaded. Plug-ins have been loaded.
Status want_policies(std::string_view names);
const std::vector<std::string>& wanted_policies();
// As tests are called: letters, digits and _.
std::string test_name(const std::string& policy);
// gtest's filter: tests of wanted policies only, or, where none is wanted, of none.
std::string filter_for_policies(const std::string& filter);
// From now on a test that runs for two minutes ends the process with its name: no policy needs that long for its worlds.
void end_tests_that_hang();

}  // namespace tessera::conformance
