// Checks operands op by op; a message says which operand of which op, and what it needs.
#include "backends/cpu/checks.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "backends/cpu/weights.h"
#include "backends/cpu/workspace.h"

namespace tessera::cpu {
namespace {

const char* op_name(Op op) {
  switch (op) {
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
      return "task";
  }
}

Error refuse(Op op, const std::string& what) {
  return {ErrorCode::kInvalid, std::string("cpu: ") + op_name(op) + ": " + what};
}

Status check_memory(Op op, const char* name, const MemoryRef& ref, int64_t bytes) {
  if (holds(ref, bytes)) return {};
  return refuse(op,
                std::string(name) + " does not hold " + to_string(Bytes{bytes}) + " of host memory; bind a larger buffer");
}

Status check_batch(Op op, const Batch& batch) {
  if (batch.size() < 1 || batch.starts[0] != 0) return refuse(op, "the batch is empty or does not start at token 0");
  for (int s = 0; s < batch.size(); ++s) {
    if (batch.starts[s + 1] <= batch.starts[s]) return refuse(op, "sequence " + std::to_string(s) + " has no tokens");
  }
  return {};
}

Status check_present(Op op, const char* what, std::initializer_list<const void*> pointers) {
  if (std::all_of(pointers.begin(), pointers.end(), [](const void* p) { return p != nullptr; })) return {};
  return refuse(op, std::string(what) + " missing; bind all of them");
}

Status check_residents(Op op, const Operands& o) {
  TESSERA_TRY(check_present(op, "residents", {o.residents}));
  const LayerResidents& r = *o.residents;
  if (op != Op::kFfnPart && op != Op::kCombine) {
    TESSERA_TRY(check_present(op, "attention biases", {r.query_bias, r.key_bias, r.value_bias}));
  }
  if (op == Op::kLayer || op == Op::kFfnPart) TESSERA_TRY(check_present(op, "FFN bias", {r.ffn_up_bias}));
  if (op == Op::kAttentionPart || op == Op::kFfnPart) return {};
  TESSERA_TRY(check_present(op, "attention norm", {r.attention_bias, r.attention_norm_weight, r.attention_norm_bias}));
  return check_present(op, "FFN norm", {r.ffn_down_bias, r.ffn_norm_weight, r.ffn_norm_bias});
}

Status check_rows(const Operands& o, int tokens) {
  TESSERA_TRY(check_present(Op::kEmbed, "rows", {o.rows}));
  const RowRefs& r = *o.rows;
  const size_t count = static_cast<size_t>(tokens);
  if (r.word.size() < count || r.position.size() < count || r.token_type.size() < count) {
    return refuse(Op::kEmbed, "fewer rows than " + std::to_string(tokens) + " tokens");
  }
  for (size_t t = 0; t < count; ++t) {
    TESSERA_TRY(check_present(Op::kEmbed, "a token's rows", {r.word[t], r.position[t], r.token_type[t]}));
  }
  return check_present(Op::kEmbed, "norm", {r.norm_weight, r.norm_bias});
}

Status check_exit(const Operands& o) {
  TESSERA_TRY(check_present(Op::kExit, "exit head", {o.exit}));
  const ExitRefs& e = *o.exit;
  return check_present(Op::kExit, "exit head", {e.pooler_weight, e.pooler_bias, e.classifier_weight, e.classifier_bias});
}

Status check_workspace(Op op, const Operands& o, int threads) {
  const int64_t needed = lay_out(*o.shape, op, work_size(o, threads)).bytes;
  if (needed == 0) return {};
  if (o.workspace_bytes < needed || !holds(o.workspace, needed)) {
    return refuse(op, "workspace of " + to_string(Bytes{o.workspace_bytes}) + " given, " + to_string(Bytes{needed}) +
                          " needed; ask estimate() for it");
  }
  if (reinterpret_cast<uintptr_t>(o.workspace.as<std::byte>()) % 64 != 0) return refuse(op, "workspace is not 64-aligned");
  return {};
}

}  // namespace

bool holds(const MemoryRef& ref, int64_t bytes) {
  return ref && ref.buffer->host != nullptr && ref.offset >= 0 && bytes >= 0 && ref.offset <= ref.buffer->bytes.n &&
         bytes <= ref.buffer->bytes.n - ref.offset;
}

Status check_operands(const Task& task, const Operands& o, int threads) {
  const Op op = task.cost.op;
  if (op == Op::kTransfer) {
    for (const Move& move : o.moves) {
      TESSERA_TRY(check_memory(op, "transfer source", move.from, move.bytes.n));
      TESSERA_TRY(check_memory(op, "transfer target", move.to, move.bytes.n));
    }
    return {};
  }
  TESSERA_TRY(check_present(op, "model shape", {o.shape}));
  TESSERA_TRY(check_batch(op, o.batch));
  const int64_t values = static_cast<int64_t>(o.batch.tokens()) * o.shape->hidden;
  const bool part = op == Op::kAttentionPart || op == Op::kFfnPart;
  const int64_t out = op == Op::kExit ? int64_t{4} * o.batch.size() * o.shape->labels : values * (part ? 8 : 4);
  TESSERA_TRY(check_memory(op, "output", o.output, out));
  if (op == Op::kEmbed) return check_rows(o, o.batch.tokens());
  TESSERA_TRY(check_memory(op, "input", o.input, values * 4));
  if (op == Op::kExit) {
    TESSERA_TRY(check_exit(o));
    return check_workspace(op, o, threads);
  }
  TESSERA_TRY(check_residents(op, o));
  if (op == Op::kCombine) {
    if (o.partials.empty()) return refuse(op, "no partials; a combine adds at least one");
    for (const MemoryRef& p : o.partials) TESSERA_TRY(check_memory(op, "a partial", p, values * 8));
  } else {
    TESSERA_TRY(check_slices(*o.shape, o.weights));
  }
  return check_workspace(op, o, threads);
}

}  // namespace tessera::cpu
