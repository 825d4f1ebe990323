// Narrows the model's grid to what the request leaves open.
#include "policies/parts/choices.h"

#include <algorithm>

#include "policies/parts/device_roles.h"

namespace tessera {
namespace {

Error invalid(std::string what) { return {ErrorCode::kInvalid, std::move(what)}; }

template <typename T>
std::string listed(const std::vector<T>& values) {
  std::string text;
  for (const T& v : values) text += (text.empty() ? "" : ", ") + std::to_string(v);
  return text.empty() ? "none" : text;
}

Status check_request(const PlanningView& view) {
  const ModelShape& shape = view.shape;
  if (view.tokens < 1 || view.tokens > shape.max_tokens)
    return invalid("request of " + std::to_string(view.tokens) + " tokens; model " + shape.name + " takes 1 to " +
                   std::to_string(shape.max_tokens));
  if (view.compute_devices.empty())
    return invalid("platform " + view.platform.name + ": no device to compute on; see `tessera devices`");
  if (!(view.quantile >= 0.5 && view.quantile < 1))
    return invalid("quantile " + std::to_string(view.quantile) + ": must be at least 0.5 and below 1");
  if (shape.slices < 1 || shape.slices > kMaxSlices || shape.exit_bytes.size() != static_cast<size_t>(shape.layers))
    return invalid("model " + shape.name + ": " + std::to_string(shape.slices) + " slices and " +
                   std::to_string(shape.exit_bytes.size()) + " exit heads for " + std::to_string(shape.layers) + " layers");
  return {};
}

// The one value given by hand where it is among the legal ones, else all of them.
template <typename T>
Result<std::vector<T>> narrowed(const std::vector<T>& legal, const std::optional<T>& given, const std::string& what,
                                const std::string& model) {
  if (!given) return legal;
  if (std::find(legal.begin(), legal.end(), *given) == legal.end())
    return invalid(what + " " + std::to_string(*given) + ": model " + model + " has " + listed(legal));
  return std::vector<T>{*given};
}

std::vector<Bits> computed_by(const PlanningView& view, DeviceId device, const Choices& choices) {
  std::vector<Bits> out;
  for (const Bits bits : choices.ladder)
    if (runs_layers(view, device, choices.widths.back(), bits)) out.push_back(bits);
  return out;
}

// The device that computes where one does, and with what; some device must be able to begin and end a request.
Status choose_device(const PlanningView& view, Choices& choices) {
  std::optional<std::vector<Bits>> first;
  for (const DeviceId device : view.compute_devices) {
    std::vector<Bits> can = computed_by(view, device, choices);
    choices.anywhere.insert(choices.anywhere.end(), can.begin(), can.end());
    if (first || can.empty()) continue;
    choices.device = device;
    first = std::move(can);
  }
  const auto names = [&] {
    std::string text;
    for (const DeviceId device : view.compute_devices)
      text += (text.empty() ? "" : ", ") + view.platform.devices[device].name;
    return text;
  };
  if (!first)
    return invalid("device " + names() + ": cannot run layers of model " + view.shape.name + " at " +
                   listed(std::vector<int>(choices.ladder.begin(), choices.ladder.end())) +
                   " bits; give other --devices, or other bits");
  if (roles_of(view, choices.widths.back(), {}).homes.empty())
    return invalid("device " + names() + ": cannot embed tokens and run exit heads; add a device that can, such as cpu0");
  std::sort(choices.anywhere.begin(), choices.anywhere.end());
  choices.anywhere.erase(std::unique(choices.anywhere.begin(), choices.anywhere.end()), choices.anywhere.end());
  choices.ladder = std::move(*first);
  return {};
}

}  // namespace

Result<Choices> choices_of(const PlanningView& view) {
  TESSERA_TRY(check_request(view));
  const ModelShape& shape = view.shape;
  Choices out;
  TESSERA_ASSIGN(out.depths, narrowed(shape.depths, view.depth, "depth", shape.name));
  TESSERA_ASSIGN(out.widths, narrowed(shape.widths, view.width, "width", shape.name));
  TESSERA_ASSIGN(out.ladder, narrowed(shape.bitwidths, view.bits, "bits", shape.name));
  if (out.depths.empty() || out.widths.empty() || out.ladder.empty())
    return invalid("model " + shape.name + ": no legal depth, width or bitwidth");
  TESSERA_TRY(choose_device(view, out));
  return out;
}

std::string given_by_hand(const PlanningView& view) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (view.depth) add("depth " + std::to_string(*view.depth));
  if (view.width) add("width " + std::to_string(*view.width));
  if (view.bits) add(std::to_string(*view.bits) + " bits");
  return text.empty() ? text : text + " as given";
}

}  // namespace tessera
