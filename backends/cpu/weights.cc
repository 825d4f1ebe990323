// Views weights in place; nothing is copied or expanded.
#include "backends/cpu/weights.h"

#include <string>

namespace tessera::cpu {
namespace {

std::string named(const WeightRef& weight) {
  return "cpu: slice " + std::to_string(weight.slice) + "@" + std::to_string(weight.bits);
}

Error misfit(const WeightRef& weight, int64_t needed) {
  return {ErrorCode::kData, named(weight) + ": " + std::to_string(weight.bytes) + " bytes given, " + std::to_string(needed) +
                                " needed; load the whole shard"};
}

}  // namespace

Result<SliceMatrices> view_slice(const ModelShape& shape, const WeightRef& weight) {
  const std::byte* data = weight.data.as<std::byte>();
  SliceMatrices views;
  if (weight.form == WeightForm::kCoded && weight.bits != kExact) {
    auto coded = parse_coded_shard(shape, weight.bits, weight.exact_type, data, weight.bytes);
    if (!coded.ok()) return Error{coded.error().code, named(weight) + ": " + coded.error().message};
    for (int i = 0; i < kMatrixCount; ++i) views[i] = {.dims = (*coded)[i].dims, .coded = true, .code = (*coded)[i]};
    return views;
  }
  const ElementType type = weight.form == WeightForm::kDecoded ? ElementType::kF32 : weight.exact_type;
  const DenseLayout layout = dense_layout(shape, element_size(type));
  if (weight.bytes < layout.bytes) return misfit(weight, layout.bytes);
  for (int i = 0; i < kMatrixCount; ++i) {
    views[i].dims = matrix_dims(shape, static_cast<MatrixKind>(i));
    views[i].type = type;
    views[i].panels = data + layout.offset[i];
  }
  return views;
}

Status check_slices(const ModelShape& shape, std::span<const WeightRef> weights) {
  if (weights.empty()) return Error{ErrorCode::kInvalid, "cpu: no weights; a layer or part needs at least one slice"};
  int last = -1;
  for (const WeightRef& w : weights) {
    if (w.slice <= last || w.slice >= shape.slices) {
      return Error{ErrorCode::kInvalid, named(w) + " after slice " + std::to_string(last) + " of " +
                                            std::to_string(shape.slices) + "; give slices once each, ascending"};
    }
    if (!valid_bits(w.bits)) return Error{ErrorCode::kInvalid, named(w) + ": bits must be 1 to 8 or 32"};
    if (!w.data || w.data.buffer->host == nullptr || w.data.offset < 0 || w.bytes < 0 ||
        w.data.offset + w.bytes > w.data.buffer->bytes.n) {
      return Error{ErrorCode::kInvalid, named(w) + ": " + std::to_string(w.bytes) + " bytes do not lie in host memory"};
    }
    last = w.slice;
  }
  return {};
}

}  // namespace tessera::cpu
