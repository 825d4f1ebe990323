// Checks operands op by op; a message says which operand of which op, and what it needs.
#include <algorithm>
#include <initializer_list>

#include "backends/opencl/work.h"
#include "shards/shard_format.h"

namespace tessera::opencl {
namespace {

class Check {
 public:
  Check(const Device& device, Op op) : device_(device), op_(op) {}

  Error refuse(const std::string& what, ErrorCode code = ErrorCode::kInvalid) const {
    return {code, device_.name() + ": " + std::string(name_of(op_)) + ": " + what};
  }
  Status memory(const std::string& name, const MemoryRef& ref, int64_t bytes) const {
    if (!holds(device_, ref, bytes))
      return refuse(name + " does not hold " + to_string(Bytes{bytes}) + " of this device's memory; bind a larger buffer");
    if (ref.offset % 64 != 0) return refuse(name + " begins at byte " + std::to_string(ref.offset) + ", no multiple of 64");
    return {};
  }
  Status present(const char* what, std::initializer_list<const void*> pointers) const {
    if (std::find(pointers.begin(), pointers.end(), nullptr) == pointers.end()) return {};
    return refuse(std::string(what) + " missing; bind all of them");
  }
  Status batch(const Batch& batch, const ModelShape& shape) const {
    if (batch.size() < 1 || batch.starts[0] != 0) return refuse("the batch is empty or does not start at token 0");
    for (int s = 0; s < batch.size(); ++s)
      if (batch.starts[s + 1] <= batch.starts[s]) return refuse("sequence " + std::to_string(s) + " has no tokens");
    if (int64_t{batch.tokens()} * std::max(shape.hidden, shape.ffn) > INT32_MAX)
      return refuse(std::to_string(batch.tokens()) + " tokens of " + std::to_string(shape.hidden) +
                    " hidden are too many at once");
    return {};
  }
  Status residents(const Operands& o) const {
    TESSERA_TRY(present("residents", {o.residents}));
    const LayerResidents& r = *o.residents;
    if (op_ == Op::kLayer || op_ == Op::kAttentionPart)
      TESSERA_TRY(present("attention biases", {r.query_bias, r.key_bias, r.value_bias}));
    if (op_ == Op::kLayer || op_ == Op::kFfnPart) TESSERA_TRY(present("FFN bias", {r.ffn_up_bias}));
    if (op_ != Op::kLayer && op_ != Op::kCombine) return {};
    TESSERA_TRY(present("attention norm", {r.attention_bias, r.attention_norm_weight, r.attention_norm_bias}));
    return present("FFN norm", {r.ffn_down_bias, r.ffn_norm_weight, r.ffn_norm_bias});
  }
  Status rows(const Operands& o) const {
    TESSERA_TRY(present("rows", {o.rows}));
    const RowRefs& r = *o.rows;
    const auto count = static_cast<size_t>(o.batch.tokens());
    if (r.word.size() < count || r.position.size() < count || r.token_type.size() < count)
      return refuse("fewer rows than " + std::to_string(count) + " tokens");
    for (size_t t = 0; t < count; ++t) TESSERA_TRY(present("a token's rows", {r.word[t], r.position[t], r.token_type[t]}));
    return present("norm", {r.norm_weight, r.norm_bias});
  }
  Status weights(const ModelShape& shape, std::span<const WeightRef> weights) const;
  Status workspace(const Operands& o, int element_bytes) const {
    const int64_t needed = lay_out(*o.shape, op_, work_size(o), element_bytes).bytes;
    if (needed == 0) return {};
    if (o.workspace_bytes < needed)
      return refuse("workspace of " + to_string(Bytes{o.workspace_bytes}) + " given, " + to_string(Bytes{needed}) +
                    " needed; ask estimate() for it");
    return memory("workspace", o.workspace, needed);
  }

 private:
  const Device& device_;
  Op op_;
};

Status Check::weights(const ModelShape& shape, std::span<const WeightRef> weights) const {
  if (weights.empty()) return refuse("no weights; a layer or part needs at least one slice");
  int last = -1;
  for (const WeightRef& w : weights) {
    const std::string named = "slice " + std::to_string(w.slice) + "@" + std::to_string(w.bits);
    if (w.slice <= last || w.slice >= shape.slices)
      return refuse(named + " after slice " + std::to_string(last) + " of " + std::to_string(shape.slices) +
                    "; give slices once each, ascending");
    if (!valid_bits(w.bits)) return refuse(named + ": bits must be 1 to 8 or 32");
    TESSERA_TRY(memory(named, w.data, w.bytes));
    last = w.slice;
    const bool decoded = w.form == WeightForm::kDecoded;
    if (!decoded && w.bits != kExact) continue;  // the device looks
    const int64_t needed = dense_layout(shape, decoded ? 4 : element_size(w.exact_type)).bytes;
    if (w.bytes < needed)
      return refuse(named + ": " + std::to_string(w.bytes) + " bytes given, " + std::to_string(needed) +
                        " needed; load the whole shard",
                    ErrorCode::kData);
  }
  return {};
}

}  // namespace

bool holds(const Device& device, const MemoryRef& ref, int64_t bytes) {
  if (!ref || ref.buffer->native == nullptr || ref.offset < 0 || bytes < 0) return false;
  const auto& memory = *static_cast<const DeviceMemory*>(ref.buffer->native);
  return memory.owner == &device && ref.offset <= memory.bytes && bytes <= memory.bytes - ref.offset;
}

Place place_of(const MemoryRef& ref) { return {static_cast<const DeviceMemory*>(ref.buffer->native)->memory, ref.offset}; }

int stored_bytes(const ModelShape& shape) { return shape.stored_exact_bits == 16 ? 2 : 4; }

std::string_view name_of(Op op) {
  switch (op) {
    case Op::kTransfer:
      return "transfer";
    case Op::kEmbed:
      return "embed";
    case Op::kLayer:
      return "layer";
    case Op::kAttentionPart:
      return "attention part";
    case Op::kFfnPart:
      return "ffn part";
    case Op::kCombine:
      return "combine";
    case Op::kExit:
      return "exit";
    default:
      return "load";
  }
}

Status check_operands(const Device& device, const Task& task, const Operands& o) {
  const Op op = task.cost.op;
  const Check check(device, op);
  TESSERA_TRY(check.present("model shape", {o.shape}));
  TESSERA_TRY(check.batch(o.batch, *o.shape));
  const int64_t values = static_cast<int64_t>(o.batch.tokens()) * o.shape->hidden;
  const bool part = op == Op::kAttentionPart || op == Op::kFfnPart;
  const int64_t out = op == Op::kExit ? int64_t{4} * o.batch.size() * o.shape->labels : values * (part ? 8 : 4);
  TESSERA_TRY(check.memory("output", o.output, out));
  if (op == Op::kEmbed) {
    TESSERA_TRY(check.rows(o));
    return check.workspace(o, element_size(o.rows->type));
  }
  TESSERA_TRY(check.memory("input", o.input, values * 4));
  if (op == Op::kExit) {
    TESSERA_TRY(check.present("exit head", {o.exit}));
    const ExitRefs& e = *o.exit;
    TESSERA_TRY(check.present("exit head", {e.pooler_weight, e.pooler_bias, e.classifier_weight, e.classifier_bias}));
    return check.workspace(o, element_size(e.type));
  }
  TESSERA_TRY(check.residents(o));
  if (op == Op::kCombine) {
    if (o.partials.empty()) return check.refuse("no partials; a combine adds at least one");
    for (const MemoryRef& p : o.partials) TESSERA_TRY(check.memory("a partial", p, values * 8));
  } else {
    TESSERA_TRY(check.weights(*o.shape, o.weights));
  }
  return check.workspace(o, stored_bytes(*o.shape));
}

}  // namespace tessera::opencl
