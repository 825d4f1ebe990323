// Refuses operands that do not fit together, by name and number.
#include <initializer_list>
#include <string>

#include "operators.h"
#include "shards/shard_format.h"

namespace slow {
namespace {

using tessera::Error;
using tessera::ErrorCode;
using tessera::MemoryRef;
using tessera::Op;
using tessera::Operands;
using tessera::Status;

Error refuse(const std::string& what) { return {ErrorCode::kInvalid, "slow0: " + what}; }

Status check_memory(const char* name, const MemoryRef& ref, int64_t bytes) {
  if (holds(ref, bytes)) return {};
  return refuse(std::string(name) + " does not hold " + to_string(tessera::Bytes{bytes}) + " of host memory");
}

Status check_present(const char* name, std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (p == nullptr) return refuse(std::string(name) + " missing");
  return {};
}

Status check_batch(const tessera::Batch& batch) {
  if (batch.size() < 1 || batch.starts[0] != 0) return refuse("the batch is empty or does not start at token 0");
  for (int s = 0; s < batch.size(); ++s)
    if (batch.starts[s + 1] <= batch.starts[s]) return refuse("sequence " + std::to_string(s) + " has no tokens");
  return {};
}

Status check_weights(const Operands& o) {
  if (o.weights.empty()) return refuse("no weights; a part computes at least one slice");
  int last = -1;
  for (const tessera::WeightRef& w : o.weights) {
    const std::string name = "slice " + std::to_string(w.slice);
    if (w.slice <= last || w.slice >= o.shape->slices)
      return refuse(name + " is out of order, or beyond the model's " + std::to_string(o.shape->slices));
    last = w.slice;
    if (!tessera::valid_bits(w.bits)) return refuse(name + ": " + std::to_string(w.bits) + " is no bitwidth");
    const bool decoded = w.form == tessera::WeightForm::kDecoded;
    const int element = decoded ? 4 : tessera::element_size(w.exact_type);
    const int64_t least = decoded || w.bits == tessera::kExact ? dense_layout(*o.shape, element).bytes : 1;
    if (w.bytes < least)
      return refuse(name + " has " + std::to_string(w.bytes) + " bytes of weights, " + std::to_string(least) + " needed");
    TESSERA_TRY(check_memory((name + ": weights").c_str(), w.data, w.bytes));
    if (reinterpret_cast<uintptr_t>(w.data.as<std::byte>()) % 64 != 0) return refuse(name + ": weights are not 64-aligned");
    if (decoded || w.bits == tessera::kExact) continue;
    const auto parsed = parse_coded_shard(*o.shape, w.bits, w.exact_type, w.data.as<std::byte>(), w.bytes);
    if (!parsed.ok()) return refuse(name + ": " + parsed.error().message);
  }
  return {};
}

Status check_residents(const Operands& o) {
  TESSERA_TRY(check_present("residents", {o.residents}));
  const tessera::LayerResidents& r = *o.residents;
  return check_present("a bias or norm",
                       {r.query_bias, r.key_bias, r.value_bias, r.attention_bias, r.attention_norm_weight,
                        r.attention_norm_bias, r.ffn_up_bias, r.ffn_down_bias, r.ffn_norm_weight, r.ffn_norm_bias});
}

Status check_rows(const Operands& o) {
  TESSERA_TRY(check_present("rows", {o.rows}));
  const tessera::RowRefs& r = *o.rows;
  const auto tokens = static_cast<size_t>(o.batch.tokens());
  if (r.word.size() < tokens || r.position.size() < tokens || r.token_type.size() < tokens)
    return refuse("fewer rows than " + std::to_string(tokens) + " tokens");
  for (size_t t = 0; t < tokens; ++t)
    TESSERA_TRY(check_present("a token's rows", {r.word[t], r.position[t], r.token_type[t]}));
  return check_present("the norm", {r.norm_weight, r.norm_bias});
}

Status check_exit(const Operands& o) {
  TESSERA_TRY(check_present("exit head", {o.exit}));
  const tessera::ExitRefs& e = *o.exit;
  return check_present("exit head", {e.pooler_weight, e.pooler_bias, e.classifier_weight, e.classifier_bias});
}

}  // namespace

bool holds(const MemoryRef& ref, int64_t bytes) {
  return ref && ref.buffer->host != nullptr && ref.offset >= 0 && bytes >= 0 && ref.offset <= ref.buffer->bytes.n &&
         bytes <= ref.buffer->bytes.n - ref.offset;
}

Status check(const tessera::Task& task, const Operands& o) {
  const Op op = task.cost.op;
  TESSERA_TRY(check_present("the model's shape", {o.shape}));
  TESSERA_TRY(check_batch(o.batch));
  const int64_t values = int64_t{o.batch.tokens()} * o.shape->hidden;
  const bool part = op == Op::kAttentionPart || op == Op::kFfnPart;
  const int64_t out = op == Op::kExit ? int64_t{4} * o.batch.size() * o.shape->labels : values * (part ? 8 : 4);
  TESSERA_TRY(check_memory("output", o.output, out));
  if (op == Op::kEmbed) return check_rows(o);
  TESSERA_TRY(check_memory("input", o.input, values * 4));
  if (op == Op::kExit) return check_exit(o);
  TESSERA_TRY(check_residents(o));
  if (op != Op::kCombine) return check_weights(o);
  if (o.partials.empty()) return refuse("no partials; a combine adds at least one");
  for (const MemoryRef& p : o.partials) TESSERA_TRY(check_memory("a partial", p, values * 8));
  return {};
}

}  // namespace slow
