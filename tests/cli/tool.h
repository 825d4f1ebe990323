// Runs the built `tessera` as a user would, and keeps what it said.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace tessera::testing {

struct ToolRun {
  int code = -1;  // 128 + signal where one killed it
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }  // throws where stdout is not JSON alone
};

// The cache (calibration, imported stores) is TESSERA_BINARY_DIR/test-cache unless `environment` ("NAME=value") says else.
ToolRun tessera(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {});
// The same, with a signal once `ready` says so (polled), or the command has ended.
ToolRun tessera_signalled(const std::vector<std::string>& arguments, int signal, const std::function<bool()>& ready);
// Whether a file whose name starts with `prefix` is in `folder`.
bool holds(const std::string& folder, const std::string& prefix);

// A store with two layers of four slices, unprofiled, made once per process; its texts are words like "w5".
const std::string& tiny_store();
const std::string& tiny_checkpoint();

}  // namespace tessera::testing
