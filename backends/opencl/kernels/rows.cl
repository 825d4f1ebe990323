// Everything but products: finds matrices, attends, adds partials, normalises, embeds, classifies.

// Walks the slices' headers (shards/shard_format.h): a matrix starts where the one before ends, which depends on its
// outliers. One work-item a slice. What does not fit is refused and read as zeros.
kernel void locate(SLOTS, global uchar* base, ulong slices_at, ulong matrices_at, ulong refused_at, int first, int count,
                   int hidden, int head, int share) {
  if ((int)get_global_id(0) >= count) return;
  const int place = first + (int)get_global_id(0);
  const Slice s = ((global const Slice*)(base + slices_at))[place];
  global Matrix* found = (global Matrix*)(base + matrices_at) + place * MATRICES;
  global const uchar* data = SLOT_OF(s.slot);
  const ulong end = s.offset + s.bytes;
  const ulong element_bytes = s.type == TYPE_F32 ? 4 : 2;
  ulong at = s.offset;
  bool fits = true;
  for (int i = 0; i < MATRICES; ++i) {
    const ulong in = i == 3 ? head : i == 5 ? share : hidden, out = i == 3 || i == 5 ? hidden : i == 4 ? share : head;
    const ulong panels = (out + PANEL - 1) / PANEL;
    Matrix m;
    m.slot = s.slot, m.slice = s.slice, m.bits = s.bits, m.type = s.type, m.outliers = 0, m.spare = 0;
    m.dictionary = m.starts = m.positions = m.values = 0;
    m.indices = at;
    if (s.bits == DENSE) {
      at += panels * in * PANEL * element_bytes;
    } else {
      m.dictionary = at;
      m.starts = at + ((ulong)4 << s.bits);
      m.indices = m.starts + 4 * (panels + 1);
      m.positions = (m.indices + panels * in * 2 * s.bits + 3) & ~3UL;
      fits = fits && m.positions <= end;
      if (fits) {
        global const uint* starts = (global const uint*)(data + m.starts);
        fits = starts[0] == 0;
        for (ulong p = 0; p < panels; ++p) fits = fits && starts[p] <= starts[p + 1];
        m.outliers = starts[panels];
      }
      m.values = (m.positions + (ulong)m.outliers * (in > 4096 ? 4 : 2) + 3) & ~3UL;
      at = m.values + m.outliers * element_bytes;
    }
    fits = fits && at <= end;
    if (!fits) m.bits = DENSE, m.type = TYPE_ZERO, m.outliers = 0;
    found[i] = m;
    at = (at + 63) & ~63UL;
  }
  if (!fits) *(global int*)(base + refused_at) = place + 1;
}

float largest(float16 v) {
  const float8 a = fmax(v.lo, v.hi);
  const float4 b = fmax(a.lo, a.hi);
  const float2 c = fmax(b.lo, b.hi);
  return fmax(c.x, c.y);
}

// softmax(q k^T / sqrt(width)) v of one head: a work-group takes some queries of one sequence (x) of one slice (y), and goes
// over the keys once, 16 of them for each of its y work-items, which also own 16 columns of the output each. What a query
// sees does not depend on who shares its group or its batch.
kernel void attend(global const uchar* base, ulong blocks_at, ulong transposed_at, ulong values_at, global uchar* to_base,
                   ulong context_at, int tokens, int width, int padded, int row_stride, float scale, local float* scores) {
  const int r = get_local_id(0), c = get_local_id(1), chunks = get_local_size(1);
  const int keys = PANEL * chunks;
  const int4 block = ((global const int4*)(base + blocks_at))[get_group_id(0)];  // start, length, first row, unused
  const ulong slice = get_group_id(1);
  const int length = block.y, row = block.z + r, read_row = min(row, block.x + length - 1);
  global const float* q = (global const float*)(base + transposed_at) + slice * 2 * width * row_stride;
  global const float* k = q + (ulong)width * row_stride + block.x;
  global const float* v = (global const float*)(base + values_at) + (slice * tokens + block.x) * padded + PANEL * c;
  local float* own = scores + r * keys;
  const int16 lanes = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  float16 context = 0.0f;
  float top = -INFINITY, sum = 0.0f;
  for (int first = 0; first < length; first += keys) {
    const int key = first + PANEL * c;
    float16 s = 0.0f;
    if (key < length)
      for (int w = 0; w < width; ++w)
        s = fma((float16)(q[(ulong)w * row_stride + read_row]), vload16(0, k + (ulong)w * row_stride + key), s);
    s = select((float16)(-INFINITY), s * scale, isless(convert_float16(key + lanes), (float16)((float)length)));
    vstore16(s, c, own);
    barrier(CLK_LOCAL_MEM_FENCE);
    float higher = top;
    for (int i = 0; i < chunks; ++i) higher = fmax(higher, largest(vload16(i, own)));
    const float shrink = top == higher ? 1.0f : exp(top - higher);
    top = higher;
    barrier(CLK_LOCAL_MEM_FENCE);
    vstore16(exp(s - top), c, own);
    barrier(CLK_LOCAL_MEM_FENCE);
    sum *= shrink;
    context *= shrink;
    const int some = min(keys, length - first);
    for (int i = 0; i < some; ++i) {
      sum += own[i];
      context = fma((float16)(own[i]), vload16(0, v + (ulong)(first + i) * padded), context);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (row < block.x + length)
    vstore16(context / sum, 0, (global float*)(to_base + context_at) + (slice * tokens + row) * padded + PANEL * c);
}

// sums = (resume ? sums : 0) + a part's doubles.
kernel void gather(global const uchar* part_base, ulong part_at, global uchar* sums_base, ulong sums_at, ulong count,
                   int resume) {
  const ulong i = get_global_id(0);
  if (i >= count) return;
  global long* sums = (global long*)(sums_base + sums_at);
  const long more = f64_to_grid(((global const ulong*)(part_base + part_at))[i]);
  const long before = resume ? sums[i] : 0;
  sums[i] = POISONED(more) || POISONED(before) ? POISON : before + more;
}

// The sum over the group's NORM work-items, in one order.
float group_sum(local float* parts, float mine) {
  const int lid = get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  parts[lid] = mine;
  for (int half_size = NORM / 2; half_size > 0; half_size /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < half_size) parts[lid] += parts[lid + half_size];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  return parts[0];
}

// In place: a row of `hidden` values, of which this work-item wrote every NORM-th; `mine` is their sum.
void normalise(global float* row, float mine, global const float* weight, global const float* bias, int hidden, float eps,
               local float* parts) {
  const float mean = group_sum(parts, mine) / hidden;
  float squares = 0.0f;
  for (int i = get_local_id(0); i < hidden; i += NORM) squares += (row[i] - mean) * (row[i] - mean);
  const float scale = 1.0f / sqrt(group_sum(parts, squares) / hidden + eps);
  for (int i = get_local_id(0); i < hidden; i += NORM) row[i] = (row[i] - mean) * scale * weight[i] + bias[i];
}

// LayerNorm(sums + bias + residual); one work-group a row. `biases`: bias, norm weight, norm bias, [D] each.
kernel __attribute__((reqd_work_group_size(NORM, 1, 1))) void combine(global const uchar* sums_base, ulong sums_at,
                                                                      global const uchar* residual_base, ulong residual_at,
                                                                      global const uchar* biases_base, ulong biases_at,
                                                                      global uchar* out_base, ulong out_at, int hidden,
                                                                      float eps) {
  local float parts[NORM];
  const ulong row = (ulong)get_group_id(0) * hidden;
  global const long* sums = (global const long*)(sums_base + sums_at) + row;
  global const float* residual = (global const float*)(residual_base + residual_at) + row;
  global const float* bias = (global const float*)(biases_base + biases_at);
  global float* out = (global float*)(out_base + out_at) + row;
  float mine = 0.0f;
  for (int i = get_local_id(0); i < hidden; i += NORM) {
    const float v = grid_to_float(sums[i]) + bias[i] + residual[i];
    out[i] = v;
    mine += v;
  }
  normalise(out, mine, bias + hidden, bias + 2 * hidden, hidden, eps, parts);
}

// LayerNorm(word + position + type); one work-group a token. Rows [T][D] each, `biases`: norm weight, norm bias.
kernel __attribute__((reqd_work_group_size(NORM, 1, 1))) void embed(global const uchar* base, ulong words_at,
                                                                    ulong positions_at, ulong types_at, ulong biases_at,
                                                                    uint type, global uchar* out_base, ulong out_at,
                                                                    int hidden, float eps) {
  local float parts[NORM];
  const ulong row = (ulong)get_group_id(0) * hidden;
  global const float* types = (global const float*)(base + types_at) + row;
  global const float* bias = (global const float*)(base + biases_at);
  global float* out = (global float*)(out_base + out_at) + row;
  float mine = 0.0f;
  for (int i = get_local_id(0); i < hidden; i += NORM) {
    const float v = element(base + words_at, type, row + i) + element(base + positions_at, type, row + i) + types[i];
    out[i] = v;
    mine += v;
  }
  normalise(out, mine, bias, bias + hidden, hidden, eps, parts);
}

// out [B][outputs] = w x + bias, of tanh where asked; one work-group an output (x) of a sequence (y). x's row of sequence b
// is starts[b], or b without starts.
kernel __attribute__((reqd_work_group_size(NORM, 1, 1))) void head(global const uchar* x_base, ulong x_at,
                                                                   global const uchar* base, ulong starts_at, int by_starts,
                                                                   ulong weights_at, ulong bias_at, uint type,
                                                                   global uchar* out_base, ulong out_at, int hidden,
                                                                   int outputs, int squash) {
  local float parts[NORM];
  const int o = get_group_id(0), b = get_group_id(1);
  const int row = by_starts ? ((global const int*)(base + starts_at))[b] : b;
  global const float* x = (global const float*)(x_base + x_at) + (ulong)row * hidden;
  float mine = 0.0f;
  for (int i = get_local_id(0); i < hidden; i += NORM)
    mine = fma(element(base + weights_at, type, (ulong)o * hidden + i), x[i], mine);
  const float sum = group_sum(parts, mine) + element(base + bias_at, type, o);
  if (get_local_id(0) == 0) ((global float*)(out_base + out_at))[(ulong)b * outputs + o] = squash ? tanh(sum) : sum;
}
