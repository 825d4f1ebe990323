// Reads the text of a fault.
#include "backends/fpga/emulator/fault.h"

#include <charconv>
#include <cstdio>

namespace tessera::fpga {
namespace {

constexpr std::pair<std::string_view, FaultKind> kKinds[] = {{"hang", FaultKind::kHang}, {"crash", FaultKind::kCrash},
                                                             {"exit", FaultKind::kExit}, {"stop", FaultKind::kStop},
                                                             {"slow", FaultKind::kSlow}, {"silent", FaultKind::kSilent}};

bool read_number(std::string_view text, uint64_t& value) {
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
}

bool read_part(std::string_view key, std::string_view value, Fault& fault) {
  if (key == "kernel") fault.kernel = value;
  if (key == "kernel") return true;
  if (key == "at") return read_number(value, fault.at);
  if (key == "life") return read_number(value, fault.life);
  if (key != "do") return false;
  for (const auto& [name, kind] : kKinds)
    if (name == value) fault.kind = kind;
  return fault.kind != FaultKind::kNone;
}

}  // namespace

Fault parse_fault(std::string_view text) {
  Fault fault;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const size_t equals = part.find('=');
    if (equals != part.npos && read_part(part.substr(0, equals), part.substr(equals + 1), fault)) continue;
    std::fprintf(stderr, "tessera device model: TESSERA_EMULATOR_FAULT: '%.*s' is no part of a fault\n",
                 static_cast<int>(part.size()), part.data());
    return {};
  }
  return fault;
}

}  // namespace tessera::fpga
