// Writes the steps of attention, FFN and combine; kernels of one slice overlap with those of the next.
#include "backends/fpga/layer_program.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "hls/kernels.h"
#include "shards/shard_format.h"

namespace tessera::fpga {
namespace {

constexpr int kSets = 3;  // of a slice's scratch: it is read while the next two slices' is written

int64_t lines_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }
uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }

// Scratch of one task: sums first, then kSets times what a slice needs.
struct Scratch {
  int64_t row, hidden_row;  // floats of a padded row
  int64_t block;            // bytes of one of q, k, v, context
  int64_t hidden;           // bytes of a slice's FFN values
  int64_t sums, set, bytes;
  Scratch(const ModelShape& shape, Op op, int64_t tokens)
      : row(hls::padded_row(u32(shape.head_width()))),
        hidden_row(hls::padded_row(u32(shape.ffn_share()))),
        block(lines_up(tokens * row * 4)),
        hidden(lines_up(tokens * hidden_row * 4)),
        sums(op == Op::kLayer || op == Op::kCombine ? lines_up(tokens * shape.hidden * 8) : 0),
        set(op == Op::kCombine ? 0 : std::max(op == Op::kFfnPart ? 0 : 4 * block, op == Op::kAttentionPart ? 0 : hidden)),
        bytes(sums + kSets * set) {}
};

// Where one slice's matrices begin, in bytes of its shard, and how kernels shall read them.
struct Matrices {
  std::array<int64_t, kMatrixCount> at{};
  uint32_t bits = 32, element = 0;
};

Result<Matrices> find_matrices(const ModelShape& shape, const LayerOperands::Weights& w) {
  const std::byte* data = w.span.region->memory.data() + w.span.offset;
  const auto named = [&](const std::string& why) {
    return "slice " + std::to_string(w.ref.slice) + "@" + std::to_string(w.ref.bits) + ": " + why;
  };
  Matrices found;
  if (w.ref.form == WeightForm::kCoded && w.ref.bits != kExact) {
    auto coded = parse_coded_shard(shape, w.ref.bits, w.ref.exact_type, data, w.ref.bytes);
    if (!coded.ok()) return Error{coded.error().code, named(coded.error().message)};
    for (int i = 0; i < kMatrixCount; ++i) found.at[i] = reinterpret_cast<const std::byte*>((*coded)[i].dictionary) - data;
    found.bits = w.ref.bits;
    found.element = static_cast<uint32_t>(w.ref.exact_type);
    return found;
  }
  const ElementType type = w.ref.form == WeightForm::kDecoded ? ElementType::kF32 : w.ref.exact_type;
  const DenseLayout layout = dense_layout(shape, element_size(type));
  if (w.ref.bytes < layout.bytes) {
    return Error{ErrorCode::kData, named(std::to_string(w.ref.bytes) + " bytes given, " + std::to_string(layout.bytes) +
                                         " needed; load the whole shard")};
  }
  found.at = layout.offset;
  found.element = static_cast<uint32_t>(type);
  return found;
}

// One product: rows of x, a matrix of a slice, rows of y.
struct Product {
  Span x, y;
  MatrixKind matrix;
  int64_t bias_at = -1;  // bytes in the residents; -1: none, y are sums
  int64_t x_stride, y_stride;
  bool first = false;  // of the slices that are summed
};

class Builder {
 public:
  Builder(const LayerOperands& o, Program& program)
      : o_(o), shape_(*o.shape), program_(program), residents_(shape_), scratch_(shape_, o.op, o.tokens()) {}
  Status build();

 private:
  void attention();
  void ffn(const Span& input);
  void combine(const std::vector<Span>& parts, const Span& residual, bool ffn);
  void product(size_t slice, const Product& p, uint32_t after);
  void attend(size_t slice, uint32_t after);
  Span sums() const { return o_.op == Op::kLayer ? o_.workspace.from(0, scratch_.sums) : o_.output; }
  // Block 0..3: q, k, v, context of a slice.
  Span block(size_t slice, int which) const {
    return o_.workspace.from(scratch_.sums + static_cast<int64_t>(slice % kSets) * scratch_.set + which * scratch_.block,
                             scratch_.block);
  }
  Span hidden(size_t slice) const {
    return o_.workspace.from(scratch_.sums + static_cast<int64_t>(slice % kSets) * scratch_.set, scratch_.hidden);
  }

  const LayerOperands& o_;
  const ModelShape& shape_;
  Program& program_;
  const ResidentLayout residents_;
  const Scratch scratch_;
  std::vector<Matrices> matrices_;
};

void Builder::product(size_t slice, const Product& p, uint32_t after) {
  const auto& w = o_.weights[slice];
  const Matrices& m = matrices_[slice];
  const MatrixDims dims = matrix_dims(shape_, p.matrix);
  const bool sums = p.bias_at < 0;
  const int64_t at = w.span.offset + m.at[static_cast<size_t>(p.matrix)];
  const uint32_t mode = !sums ? hls::kStore : p.first ? hls::kBegin : hls::kAccumulate;
  program_.run(kMatmul, after,
               {p.x,
                w.span,
                w.span,
                w.span,
                o_.residents,
                p.y,
                p.x.line(),
                u32(at / 64),
                sums ? 0 : u32((o_.residents.offset + p.bias_at) / 4),
                p.y.line(),
                ArgumentKind::kStatusAt,
                u32(o_.tokens()),
                u32(dims.in),
                u32(dims.out),
                u32(p.x_stride),
                u32(p.y_stride),
                m.bits,
                m.element,
                mode,
                ArgumentKind::kStatus});
}

void Builder::attend(size_t slice, uint32_t after) {
  for (size_t s = 0; s + 1 < o_.starts.size(); ++s) {
    const int64_t first = o_.starts[s] * scratch_.row * 4;
    const auto part = [&](int which) { return block(slice, which).from(first, 0); };
    const Span q = part(0), k = part(1), v = part(2), context = part(3);
    program_.run(kAttention, after,
                 {q, k, v, context, q.line(), k.line(), v.line(), context.line(), ArgumentKind::kStatusAt,
                  u32(o_.starts[s + 1] - o_.starts[s]), u32(shape_.head_width()), ArgumentKind::kStatus});
  }
}

// Stage s: attention of slice s - 1, slice s - 2's share of the sums, products of slice s. All of a stage run side by side,
// each after all of the stages before.
void Builder::attention() {
  const int64_t width = shape_.head_width();
  const size_t slices = o_.weights.size();
  for (size_t stage = 0; stage < slices + 2; ++stage) {
    const uint32_t before = program_.size();
    if (stage >= 1 && stage <= slices) attend(stage - 1, before);
    if (stage >= 2) {
      product(stage - 2, {block(stage - 2, 3), sums(), MatrixKind::kOutput, -1, scratch_.row, shape_.hidden, stage == 2},
              before);
    }
    if (stage >= slices) continue;
    const int64_t bias = o_.weights[stage].ref.slice * width * 4;
    const int64_t biases[] = {residents_.query + bias, residents_.key + bias, residents_.value + bias};
    for (int i = 0; i < 3; ++i) {
      product(stage, {o_.input, block(stage, i), static_cast<MatrixKind>(i), biases[i], shape_.hidden, scratch_.row},
              before);
    }
  }
}

// Stages likewise: gelu of slice s - 1, slice s - 2's share of the sums, the first product of slice s.
void Builder::ffn(const Span& input) {
  const int64_t share = shape_.ffn_share(), lines = o_.tokens() * scratch_.hidden_row / hls::kLineFloats;
  const size_t slices = o_.weights.size();
  for (size_t stage = 0; stage < slices + 2; ++stage) {
    const uint32_t before = program_.size();
    if (stage >= 1 && stage <= slices) {
      const Span h = hidden(stage - 1);
      program_.run(kGelu, before, {h, h, h.line(), h.line(), ArgumentKind::kStatusAt, u32(lines), ArgumentKind::kStatus});
    }
    if (stage >= 2) {
      product(stage - 2, {hidden(stage - 2), sums(), MatrixKind::kDown, -1, scratch_.hidden_row, shape_.hidden, stage == 2},
              before);
    }
    if (stage >= slices) continue;
    const int64_t bias = residents_.up + o_.weights[stage].ref.slice * share * 4;
    product(stage, {input, hidden(stage), MatrixKind::kUp, bias, shape_.hidden, scratch_.hidden_row}, before);
  }
}

// More parts than a call takes are added up in the workspace first, which starts as zeros: partials stay as they are.
void Builder::combine(const std::vector<Span>& parts, const Span& residual, bool ffn) {
  const auto at = [&](int64_t bytes) { return o_.residents.from(bytes, 0).line(); };
  const auto call = [&](std::array<Span, hls::kMostParts> p, size_t count, bool finish) {
    program_.run(kNorm, program_.size(),
                 {p[0],
                  p[1],
                  p[2],
                  p[3],
                  residual,
                  o_.residents,
                  o_.output,
                  p[0].line(),
                  p[1].line(),
                  p[2].line(),
                  p[3].line(),
                  residual.line(),
                  at(ffn ? residents_.down : residents_.attention),
                  at(ffn ? residents_.ffn_weight : residents_.attention_weight),
                  at(ffn ? residents_.ffn_shift : residents_.attention_shift),
                  o_.output.line(),
                  ArgumentKind::kStatusAt,
                  u32(static_cast<int64_t>(count)),
                  finish ? 1u : 0u,
                  u32(o_.tokens()),
                  u32(shape_.hidden),
                  bits_of(static_cast<float>(shape_.layer_norm_eps)),
                  ArgumentKind::kStatus});
  };
  std::array<Span, hls::kMostParts> group;
  group.fill(parts[0]);
  if (parts.size() <= group.size()) {
    std::copy(parts.begin(), parts.end(), group.begin());
    return call(group, parts.size(), true);
  }
  const Span total = o_.workspace.from(0, scratch_.sums);
  std::memset(total.region->memory.data() + total.offset, 0, static_cast<size_t>(total.bytes));
  program_.to_device(total);
  group.fill(total);
  for (size_t i = 0; i < parts.size(); i += hls::kMostParts - 1) {
    const size_t count = std::min<size_t>(hls::kMostParts - 1, parts.size() - i);
    std::copy_n(parts.begin() + static_cast<std::ptrdiff_t>(i), count, group.begin() + 1);
    call(group, count + 1, i + count == parts.size());
  }
}

Status Builder::build() {
  for (const auto& w : o_.weights) {
    TESSERA_ASSIGN(Matrices m, find_matrices(shape_, w));
    matrices_.push_back(m);
  }
  switch (o_.op) {
    case Op::kAttentionPart:
      attention();
      break;
    case Op::kFfnPart:
      ffn(o_.input);
      break;
    case Op::kCombine:
      combine(o_.partials, o_.input, o_.ffn_norm);
      break;
    default:
      attention();
      combine({sums()}, o_.input, false);
      ffn(o_.output);
      combine({sums()}, o_.output, true);
  }
  return {};
}

}  // namespace

ResidentLayout::ResidentLayout(const ModelShape& shape) {
  const int64_t vector = lines_up(shape.hidden * 4);
  bytes = 0;
  for (int64_t* at :
       {&query, &key, &value, &attention, &attention_weight, &attention_shift, &down, &ffn_weight, &ffn_shift}) {
    *at = bytes;
    bytes += vector;
  }
  up = bytes;
  bytes += lines_up(static_cast<int64_t>(shape.ffn) * 4);
}

void write_residents(const ModelShape& shape, const LayerResidents& residents, std::byte* to) {
  const ResidentLayout layout(shape);
  const auto put = [&](int64_t at, const float* from, int count) {
    if (from != nullptr) std::memcpy(to + at, from, static_cast<size_t>(count) * sizeof(float));
  };
  const int d = shape.hidden;
  put(layout.query, residents.query_bias, d), put(layout.key, residents.key_bias, d);
  put(layout.value, residents.value_bias, d), put(layout.attention, residents.attention_bias, d);
  put(layout.attention_weight, residents.attention_norm_weight, d);
  put(layout.attention_shift, residents.attention_norm_bias, d);
  put(layout.up, residents.ffn_up_bias, shape.ffn), put(layout.down, residents.ffn_down_bias, d);
  put(layout.ffn_weight, residents.ffn_norm_weight, d), put(layout.ffn_shift, residents.ffn_norm_bias, d);
}

int64_t workspace_bytes(const ModelShape& shape, Op op, int64_t tokens) { return Scratch(shape, op, tokens).bytes; }

Status build_compute(const LayerOperands& operands, Program& program) { return Builder(operands, program).build(); }

}  // namespace tessera::fpga
