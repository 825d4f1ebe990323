// Records transfers, embed, combine and exit, and brings residents over.
#include <cstring>

#include "backends/opencl/work.h"

namespace tessera::opencl {
namespace {

// `count` values at `to`, zeros where the source is absent (a part needs only some residents).
float* put(float* to, const float* from, int64_t count) {
  if (from != nullptr) {
    std::memcpy(to, from, static_cast<size_t>(count) * 4);
  } else {
    std::memset(to, 0, static_cast<size_t>(count) * 4);
  }
  return to + count;
}

bool complete(const LayerResidents& r) {
  for (const float* p : {r.query_bias, r.key_bias, r.value_bias, r.attention_bias, r.attention_norm_weight,
                         r.attention_norm_bias, r.ffn_up_bias, r.ffn_down_bias, r.ffn_norm_weight, r.ffn_norm_bias})
    if (p == nullptr) return false;
  return true;
}

// workspace.h: PackedResidents.
const std::byte* pack(Commands& commands, const ModelShape& shape, const LayerResidents& r) {
  std::byte* const packed = commands.keep(packed_residents(shape).floats * 4);
  auto* to = reinterpret_cast<float*>(packed);
  const int64_t d = shape.hidden;
  for (const float* from :
       {r.query_bias, r.key_bias, r.value_bias, r.attention_bias, r.attention_norm_weight, r.attention_norm_bias})
    to = put(to, from, d);
  to = put(to, r.ffn_up_bias, shape.ffn);
  for (const float* from : {r.ffn_down_bias, r.ffn_norm_weight, r.ffn_norm_bias}) to = put(to, from, d);
  return packed;
}

bool on_host(const MemoryRef& ref, int64_t bytes) {
  return ref && ref.buffer->native == nullptr && ref.buffer->host != nullptr && ref.offset >= 0 && bytes >= 0 &&
         ref.offset <= ref.buffer->bytes.n && bytes <= ref.buffer->bytes.n - ref.offset;
}

}  // namespace

Place residents_on(Device& device, Commands& commands, const ModelShape& shape, const LayerResidents& residents,
                   Place space) {
  if (const cl_mem kept = device.kept_residents(residents.id)) return {kept, 0};
  const int64_t bytes = packed_residents(shape).floats * 4;
  const cl_mem keep = complete(residents) ? device.keep_residents(residents.id, bytes) : nullptr;
  if (keep != nullptr) commands.flight()->kept_residents = residents.id;
  const Place to = keep != nullptr ? Place{keep, 0} : space;
  commands.write(to, pack(commands, shape, residents), bytes);
  return to;
}

Status record_moves(const Device& device, Commands& commands, std::span<const Move> moves) {
  for (const Move& move : moves) {
    const int64_t bytes = move.bytes.n;
    const bool to_device = holds(device, move.to, bytes), from_device = holds(device, move.from, bytes);
    if ((!to_device && !on_host(move.to, bytes)) || (!from_device && !on_host(move.from, bytes)))
      return Error{ErrorCode::kInvalid, device.name() + ": transfer of " + to_string(move.bytes) +
                                            " leaves its buffer, or a buffer is another device's; check offset and size"};
    if (to_device && from_device) {
      commands.copy(place_of(move.to), place_of(move.from), bytes);
    } else if (to_device) {
      commands.write(place_of(move.to), move.from.as<std::byte>(), bytes);
    } else if (from_device) {
      commands.read(move.to.as<std::byte>(), place_of(move.from), bytes);
    } else {
      std::memmove(move.to.as<std::byte>(), move.from.as<std::byte>(), static_cast<size_t>(bytes));
    }
  }
  return {};
}

void record_combine(Device& device, Commands& commands, bool ffn, const Operands& o) {
  const ModelShape& shape = *o.shape;
  const Workspace space = lay_out(shape, Op::kCombine, work_size(o), stored_bytes(shape));
  const Place workspace = place_of(o.workspace), sums = workspace.plus(space.sums);
  const auto lanes = static_cast<size_t>(device.row_lanes()), tokens = static_cast<size_t>(o.batch.tokens());
  const uint64_t values = tokens * static_cast<uint64_t>(shape.hidden);
  const Place residents = residents_on(device, commands, shape, *o.residents, workspace.plus(space.residents));
  for (const MemoryRef& partial : o.partials) {
    const int resume = &partial != &o.partials.front();
    commands.launch(device.row_kernels().gather, {(values + lanes - 1) / lanes, 1}, {lanes, 1}, place_of(partial), sums,
                    values, resume);
  }
  const PackedResidents packed = packed_residents(shape);
  commands.launch(device.row_kernels().combine, {tokens, 1}, {lanes, 1}, sums, place_of(o.input),
                  residents.plus(4 * (ffn ? packed.ffn_bias : packed.attention_bias)), place_of(o.output), shape.hidden,
                  static_cast<float>(shape.layer_norm_eps));
}

void record_embed(Device& device, Commands& commands, const Operands& o) {
  const ModelShape& shape = *o.shape;
  const RowRefs& rows = *o.rows;
  const int element = element_size(rows.type);
  const Workspace space = lay_out(shape, Op::kEmbed, work_size(o), element);
  std::byte* const staged = commands.keep(space.bytes);
  const auto hidden = static_cast<size_t>(shape.hidden), row_bytes = hidden * static_cast<size_t>(element);
  for (size_t t = 0; t < static_cast<size_t>(o.batch.tokens()); ++t) {
    std::memcpy(staged + space.words + t * row_bytes, rows.word[t], row_bytes);
    std::memcpy(staged + space.positions + t * row_bytes, rows.position[t], row_bytes);
    std::memcpy(staged + space.types + t * hidden * 4, rows.token_type[t], hidden * 4);
  }
  std::memcpy(staged + space.norm, rows.norm_weight, hidden * 4);
  std::memcpy(staged + space.norm + hidden * 4, rows.norm_bias, hidden * 4);
  const Place workspace = place_of(o.workspace);
  commands.write(workspace, staged, space.bytes);
  commands.launch(device.row_kernels().embed, {static_cast<size_t>(o.batch.tokens()), 1},
                  {static_cast<size_t>(device.row_lanes()), 1}, workspace.memory_only(), workspace.at + space.words,
                  workspace.at + space.positions, workspace.at + space.types, workspace.at + space.norm,
                  static_cast<uint32_t>(rows.type), place_of(o.output), shape.hidden,
                  static_cast<float>(shape.layer_norm_eps));
}

void record_exit(Device& device, Commands& commands, const Operands& o) {
  const ModelShape& shape = *o.shape;
  const ExitRefs& exit = *o.exit;
  const int64_t element = element_size(exit.type), hidden = shape.hidden, labels = shape.labels;
  const Workspace space = lay_out(shape, Op::kExit, work_size(o), static_cast<int>(element));
  const Place workspace = place_of(o.workspace);
  std::byte* const starts = commands.keep(o.batch.size() * int64_t{4});
  std::memcpy(starts, o.batch.starts.data(), static_cast<size_t>(o.batch.size()) * 4);
  commands.write(workspace.plus(space.starts), starts, o.batch.size() * int64_t{4});
  commands.write(workspace.plus(space.pooler), exit.pooler_weight, hidden * hidden * element);
  commands.write(workspace.plus(space.pooler_bias), exit.pooler_bias, hidden * element);
  commands.write(workspace.plus(space.classifier), exit.classifier_weight, labels * hidden * element);
  commands.write(workspace.plus(space.classifier_bias), exit.classifier_bias, labels * element);
  const Range local = {static_cast<size_t>(device.row_lanes()), 1};
  const auto batch = static_cast<size_t>(o.batch.size());
  const auto type = static_cast<uint32_t>(exit.type);
  const cl_kernel head = device.row_kernels().head;
  commands.launch(head, {static_cast<size_t>(hidden), batch}, local, place_of(o.input), workspace.memory_only(),
                  workspace.at + space.starts, 1, workspace.at + space.pooler, workspace.at + space.pooler_bias, type,
                  workspace.plus(space.pooled), shape.hidden, shape.hidden, 1);
  commands.launch(head, {static_cast<size_t>(labels), batch}, local, workspace.plus(space.pooled), workspace.memory_only(),
                  workspace.at + space.starts, 0, workspace.at + space.classifier, workspace.at + space.classifier_bias,
                  type, place_of(o.output), shape.hidden, shape.labels, 0);
}

}  // namespace tessera::opencl
