// Reads how contenders, budgets and platforms are written in one word, on the command line and in experiments.
#include <algorithm>
#include <charconv>
#include <filesystem>

#include "configs/loader.h"
#include "configs/units.h"
#include "framework/registry.h"

namespace tessera {
namespace {

Error bad(const std::string& text, const std::string& what) {
  return {ErrorCode::kInvalid, "'" + text + "': " + what + "; write policy or policy(name=value,...)"};
}

template <typename T>
bool read_number(const std::string& text, T& to) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), to);
  return failure == std::errc() && end == text.data() + text.size();
}

bool has_knob(const std::string& policy, const std::string& name) {
  const auto* entry = policies().find(policy);
  if (entry == nullptr) return false;
  const std::vector<KnobDescription> knobs = entry->make()->knobs();
  return std::any_of(knobs.begin(), knobs.end(), [&](const KnobDescription& knob) { return knob.name == name; });
}

// Whether it is one of the settings that every policy has, understood.
bool set_common(Contender& contender, const std::string& name, const std::string& value) {
  int whole = 0;
  double real = 0;
  if (name == "depth" || name == "width") {
    if (!read_number(value, whole) || whole < 1) return false;
    (name == "depth" ? contender.depth : contender.width) = whole;
  } else if (name == "bits") {
    if (!read_number(value, whole) || !valid_bits(whole)) return false;
    contender.bits = static_cast<Bits>(whole);
  } else if (name == "quantile") {
    if (!read_number(value, real)) return false;
    contender.quantile = real;
  } else if (name == "preload") {
    const auto bytes = parse_budget_bytes(value);
    if (!bytes.ok()) return false;
    contender.preload = *bytes;
  } else {
    return false;
  }
  return true;
}

// A policy's knob may be called as one of the common settings is: "preload=off" is sti's, "preload=1MiB" is everybody's.
Status set(Contender& contender, const std::string& name, const std::string& value) {
  constexpr std::string_view kCommon[] = {"depth", "width", "bits", "quantile", "preload"};
  if (set_common(contender, name, value)) return {};
  const bool common = std::find(std::begin(kCommon), std::end(kCommon), name) != std::end(kCommon);
  if (common && !has_knob(contender.policy, name))
    return Error{ErrorCode::kInvalid, name + "=" + value + " is not understood"};
  contender.knobs[name] = value;
  return {};
}

Status read_settings(const std::string& text, const std::string& settings, Contender& contender) {
  for (size_t at = 0; at <= settings.size();) {
    const size_t end = std::min(settings.find(',', at), settings.size());
    const std::string one = settings.substr(at, end - at);
    const size_t equals = one.find('=');
    if (equals == std::string::npos || equals == 0) return bad(text, "'" + one + "' is not name=value");
    const Status status = set(contender, one.substr(0, equals), one.substr(equals + 1));
    if (!status.ok()) return bad(text, status.error().message);
    at = end + 1;
  }
  return {};
}

}  // namespace

Result<Contender> parse_contender(const std::string& text) {
  Contender contender;
  const size_t open = text.find('(');
  contender.policy = text.substr(0, open);
  if (contender.policy.empty()) return bad(text, "names no policy");
  if (open != std::string::npos) {
    if (text.back() != ')') return bad(text, "its ) is missing");
    TESSERA_TRY(read_settings(text, text.substr(open + 1, text.size() - open - 2), contender));
  }
  contender.label = text;
  return contender;
}

Result<Bytes> parse_budget_bytes(const std::string& text) {
  if (text == "unlimited") return kUnlimited;
  return parse_bytes(text);
}

Arena arena_of(const std::string& platform) {
  Arena arena;
  arena.platform = platform;
  arena.name = platform == "host" ? platform : std::filesystem::path(platform).stem().string();
  return arena;
}

}  // namespace tessera
