// Narrows the model's grid to what the request leaves open.
#include "policies/parts/choices.h"

#include <algorithm>

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
  out.device = view.compute_devices.front();
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
