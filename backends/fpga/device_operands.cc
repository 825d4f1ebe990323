// Finds operands in the device's buffers, and refuses those that do not fit together.
#include <algorithm>

#include "backends/fpga/device.h"

namespace tessera::fpga {
namespace {

constexpr int64_t kAlignment = 64;       // framework/operands.h: offsets of operands
constexpr size_t kMostResidents = 1024;  // layers whose norms and biases are kept

Error refuse(const std::string& what) { return {ErrorCode::kInvalid, what}; }

bool is_part(Op op) { return op == Op::kAttentionPart || op == Op::kFfnPart; }

Status check_batch(const Batch& batch) {
  if (batch.size() < 1 || batch.starts[0] != 0) return refuse("the batch is empty or does not start at token 0");
  for (int s = 0; s < batch.size(); ++s)
    if (batch.starts[s + 1] <= batch.starts[s]) return refuse("sequence " + std::to_string(s) + " has no tokens");
  return {};
}

// Which of the residents an op reads.
Status check_residents(Op op, const LayerResidents* r) {
  if (r == nullptr) return refuse("residents missing; bind them");
  const bool attention = op == Op::kLayer || op == Op::kAttentionPart, ffn = op == Op::kLayer || op == Op::kFfnPart;
  const bool norms = op == Op::kLayer || op == Op::kCombine;
  const auto all = [](std::initializer_list<const float*> pointers) {
    return std::none_of(pointers.begin(), pointers.end(), [](const float* p) { return p == nullptr; });
  };
  if ((attention && !all({r->query_bias, r->key_bias, r->value_bias})) || (ffn && !all({r->ffn_up_bias})) ||
      (norms && !all({r->attention_bias, r->attention_norm_weight, r->attention_norm_bias, r->ffn_down_bias,
                      r->ffn_norm_weight, r->ffn_norm_bias}))) {
    return refuse("norms or biases missing; bind all of them");
  }
  return {};
}

}  // namespace

Result<Span> Device::place(const MemoryRef& ref, int64_t bytes, const char* what, int64_t alignment) {
  const RegionRef region = ref ? find(ref.buffer->native) : nullptr;
  if (region == nullptr) return refuse(std::string(what) + " is in no buffer of this device; allocate it there");
  if (ref.offset < 0 || bytes < 0 || ref.offset > region->bytes || bytes > region->bytes - ref.offset) {
    return refuse(std::string(what) + ": " + std::to_string(bytes) + " bytes at " + std::to_string(ref.offset) +
                  " of a buffer of " + std::to_string(region->bytes) + "; bind a larger buffer");
  }
  if (ref.offset % alignment != 0)
    return refuse(std::string(what) + " begins at " + std::to_string(ref.offset) + ", no multiple of 64; align it");
  return Span{region, ref.offset, bytes};
}

Status Device::bind_weights(const Operands& o, LayerOperands& bound) {
  if (o.weights.empty()) return refuse("no weights; a layer or part needs at least one slice");
  int last = -1;
  for (const WeightRef& w : o.weights) {
    if (w.slice <= last || w.slice >= o.shape->slices) {
      return refuse("slice " + std::to_string(w.slice) + " after slice " + std::to_string(last) + " of " +
                    std::to_string(o.shape->slices) + "; give slices once each, ascending");
    }
    if (!valid_bits(w.bits)) return refuse("slice " + std::to_string(w.slice) + ": bits must be 1 to 8 or 32");
    TESSERA_ASSIGN(Span span, place(w.data, w.bytes, "a slice's weights", kAlignment));
    bound.weights.push_back({w, std::move(span)});
    last = w.slice;
  }
  return {};
}

// One copy in the device for each id; a region's contents come to a new worker by themselves. Called by the thread of
// computes alone. `fresh`: the program must copy them.
Result<Span> Device::residents(const ModelShape& shape, const LayerResidents& residents, bool* fresh) {
  const int64_t bytes = ResidentLayout(shape).bytes;
  if (residents.id != 0 && !residents_.contains(residents.id) && residents_.size() >= kMostResidents) {
    for (const auto& [id, region] : residents_) drop(*region);
    residents_.clear();
  }
  RegionRef& kept = residents.id == 0 ? passing_residents_ : residents_[residents.id];
  if (kept != nullptr && kept->bytes < bytes) {
    drop(*kept);
    kept = nullptr;
  }
  *fresh = kept == nullptr || residents.id == 0 || !kept->is_on_host(0, bytes);
  if (kept == nullptr) { TESSERA_ASSIGN(kept, make_region(Bytes{bytes})); }
  if (*fresh) write_residents(shape, residents, kept->memory.data());
  return Span{kept, 0, bytes};
}

Result<LayerOperands> Device::bind(const Task& task, const Operands& o) {
  const Op op = task.cost.op;
  if (o.shape == nullptr) return refuse("no model shape; bind it");
  TESSERA_TRY(check_batch(o.batch));
  TESSERA_TRY(check_residents(op, o.residents));
  LayerOperands bound;
  bound.shape = o.shape, bound.op = op, bound.starts = o.batch.starts, bound.ffn_norm = task.cost.slices != 0;
  const int64_t values = static_cast<int64_t>(o.batch.tokens()) * o.shape->hidden;
  TESSERA_ASSIGN(bound.input, place(o.input, values * 4, "input", kAlignment));
  TESSERA_ASSIGN(bound.output, place(o.output, values * (is_part(op) ? 8 : 4), "output", kAlignment));
  const int64_t scratch = workspace(*o.shape, op, o.batch.tokens());
  if (scratch > 0) {
    if (o.workspace_bytes < scratch) {
      return refuse("workspace of " + to_string(Bytes{o.workspace_bytes}) + " given, " + to_string(Bytes{scratch}) +
                    " needed; ask estimate() for it");
    }
    TESSERA_ASSIGN(bound.workspace, place(o.workspace, scratch, "workspace", kAlignment));
  }
  if (op == Op::kCombine) {
    if (o.partials.empty()) return refuse("no partials; a combine adds at least one");
    for (const MemoryRef& p : o.partials) {
      TESSERA_ASSIGN(Span span, place(p, values * 8, "a partial", kAlignment));
      bound.partials.push_back(std::move(span));
    }
  } else {
    TESSERA_TRY(bind_weights(o, bound));
  }
  TESSERA_ASSIGN(bound.residents, residents(*o.shape, *o.residents, &bound.fresh_residents));
  return bound;
}

}  // namespace tessera::fpga
