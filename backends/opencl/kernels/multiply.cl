// Multiplies rows by weights as stored: a tile of weights is decoded into local memory with the dictionary that lies there,
// its outliers are put in their places, and every work-item multiplies RM rows by one panel of 16 columns.
//
// Compiled twice, after the host's "#define REDUCE n":
//   project  out = rows * w + bias for each slice on its own (Q, K, V; Up with GELU)
//   reduce   sums [T][D] = sum over the slices of their rows * w, each on the grid (O, Down)
// An output is one fp32 chain of fma in ascending k whatever the tiles are, so tiles, batch and partition change no bit.
#undef KERNEL
#if REDUCE
#define KERNEL reduce
#else
#define KERNEL project
#define COLUMNS (GN * PANEL)
#define TILE_ROWS (GM * RM)
#define X_STRIDE (TILE_ROWS + 4)

#if RM == 1
#define EACH_ROW(f) f(0)
#elif RM == 2
#define EACH_ROW(f) f(0) f(1)
#elif RM == 4
#define EACH_ROW(f) f(0) f(1) f(2) f(3)
#else
#define EACH_ROW(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#endif

// Eight weights of `bits` bits each at byte `at`: three aligned words hold them.
ulong eight_indices(global const uchar* base, ulong at, uint bits) {
  global const uint* words = (global const uint*)(base + (at & ~3UL));
  const uint shift = (uint)(at & 3) * 8;
  const ulong low = words[0] | (ulong)words[1] << 32;
  ulong v = low >> shift;
  if (shift + 8 * bits > 64) v |= (ulong)words[2] << (64 - shift);
  return v;
}

// Rows [k0, k0 + count) of panel `p` as fp32 at `to`, row stride COLUMNS; by GM work-items of which this is `lane`.
void unpack(global const uchar* base, const Matrix* m, local const float* dictionary, ulong row, int count, int lane,
            local float* to) {
  const uint bits = m->bits, mask = (1u << bits) - 1;
  for (int i = lane; i < 2 * count; i += GM) {
    const int k = i >> 1, half_row = (i & 1) * 8;
    float8 v;
    if (bits != DENSE) {
      const ulong packed = eight_indices(base, m->indices + (row + k) * 2 * bits + (i & 1) * bits, bits);
      const uint8 at = convert_uint8((ulong8)(packed) >> ((ulong8)(0, 1, 2, 3, 4, 5, 6, 7) * (ulong)bits)) & mask;
      v = (float8)(dictionary[at.s0], dictionary[at.s1], dictionary[at.s2], dictionary[at.s3], dictionary[at.s4],
                   dictionary[at.s5], dictionary[at.s6], dictionary[at.s7]);
    } else {
      const ulong at = (row + k) * PANEL + half_row;
      global const uchar* from = base + m->indices;
      if (m->type == TYPE_F32) {
        v = vload8(at / 8, (global const float*)from);
      } else if (m->type == TYPE_F16) {
        v = vload_half8(at / 8, (global const half*)from);
      } else if (m->type == TYPE_BF16) {
        v = as_float8(convert_uint8(vload8(at / 8, (global const ushort*)from)) << 16);
      } else {
        v = 0.0f;
      }
    }
    vstore8(v, 0, to + k * COLUMNS + half_row);
  }
}

// The outliers of rows [k0, k0 + count), of those from `first` on. Returns the first of this lane's that lies behind.
uint put_outliers(global const uchar* base, const Matrix* m, int wide, uint first, uint end, int k0, int count, int lane,
                  local float* to) {
  const uint begin = (uint)k0 * PANEL, behind = (uint)(k0 + count) * PANEL;
  uint i = first + lane;
  for (; i < end; i += GM) {
    const uint at = wide ? ((global const uint*)(base + m->positions))[i] : ((global const ushort*)(base + m->positions))[i];
    if (at >= behind) break;
    if (at >= begin) to[(at - begin) / PANEL * COLUMNS + at % PANEL] = element(base + m->values, m->type, i);
  }
  return min(i, end);
}

// erf within 1.5e-7 (Abramowitz and Stegun, 7.1.26).
float16 gelu(float16 x) {
  const float16 z = fabs(x) * 0.70710678118654752f;
  const float16 t = 1.0f / (1.0f + 0.3275911f * z);
  const float16 series =
      ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  const float16 erf_z = 1.0f - series * exp(-z * z);
  return 0.5f * x * (1.0f + copysign(erf_z, x));
}
#endif  // not REDUCE

// Grid: x rows in blocks of GM * RM, y panels in blocks of GN; of `project` panels of all matrices of all slices in turn.
kernel __attribute__((reqd_work_group_size(GM, GN, 1))) void KERNEL(
    global const uchar* x_base, ulong x_at, ulong x_slice, int x_row,  // f32 rows; of reduce: [slices], x_slice apart
    SLOTS, global const uchar* matrices_base, ulong matrices_at,       // Matrix [slices][6]
    int first, int count, int matrix, int matrices,                    // slices of this launch; first matrix, how many
    int tokens, int in, int out, int hidden,                           // x [tokens][in], a matrix is [out][in]
#if REDUCE
    global uchar* sums_base, ulong sums_at, int resume, int as_f64) {  // counts, or the doubles that they mean
#else
    global const uchar* biases_base, ulong biases_at,                  // launch.h: PackedResidents
    global uchar* out_base, ulong transposed_at, ulong plain_at,       // Q, K: [slices][2][out][row_stride]
    int padded, int row_stride) {                                      // V, Up: [slices][tokens][padded]
#endif
  local float tile[KT * COLUMNS] __attribute__((aligned(64)));
  local float dictionaries[GN * 256];
  local uint cursors[2 * GN];
#if STAGE_X
  local float rows[KT * X_STRIDE] __attribute__((aligned(64)));
#endif
  const int gm = get_local_id(0), gn = get_local_id(1);
  const int row0 = (int)get_group_id(0) * TILE_ROWS + gm * RM;
  const int panels = (out + PANEL - 1) / PANEL;
  local float* own_tile = tile + gn * PANEL;
  local float* dictionary = dictionaries + gn * 256;
  global const Matrix* located = (global const Matrix*)(matrices_base + matrices_at);
  int panel = (int)get_group_id(1) * GN + gn;
#if REDUCE
  const bool active = panel < panels;
  if (!active) panel = panels - 1;
#define DECLARE(r) long16 sum##r = 0;
  EACH_ROW(DECLARE)
#undef DECLARE
  global long* sums = (global long*)(sums_base + sums_at) + panel * PANEL;
  for (int member = 0; member < count; ++member) {
    const int which = matrix;
    global const float* x = (global const float*)(x_base + x_at) + (ulong)(first + member) * x_slice;
#else
  const bool active = panel < panels * matrices * count;
  if (!active) panel = panels * matrices * count - 1;
  const int member = panel / (panels * matrices), turn = panel / panels % matrices, which = matrix + turn;
  panel %= panels;
  global const float* x = (global const float*)(x_base + x_at);
#endif
    const Matrix m = located[(first + member) * MATRICES + which];
    global const uchar* base = SLOT_OF(m.slot);
    const int wide = in > 4096;
    uint outlier_end = 0;
    if (m.bits != DENSE) {
      global const uint* starts = (global const uint*)(base + m.starts);
      outlier_end = min(starts[panel + 1], m.outliers);
      for (int i = gm; i < 1 << m.bits; i += GM) dictionary[i] = ((global const float*)(base + m.dictionary))[i];
      if (gm == 0) cursors[gn] = min(starts[panel], outlier_end);
    } else if (gm == 0) {
      cursors[gn] = 0;
    }
#define DECLARE(r) float16 acc##r = 0.0f;
    EACH_ROW(DECLARE)
#undef DECLARE
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k0 = 0, turn_of_cursor = 0; k0 < in; k0 += KT, turn_of_cursor ^= 1) {
      const int depth = min(KT, in - k0);
      unpack(base, &m, dictionary, (ulong)panel * in + k0, depth, gm, own_tile);
#if STAGE_X
      for (int i = gn * GM + gm; i < KT * TILE_ROWS; i += GM * GN) {
        const int k = i % KT, r = i / KT, row = min((int)get_group_id(0) * TILE_ROWS + r, tokens - 1);
        if (k < depth) rows[k * X_STRIDE + r] = x[(ulong)row * x_row + k0 + k];
      }
#endif
      if (gm == 0) cursors[(turn_of_cursor ^ 1) * GN + gn] = outlier_end;
      barrier(CLK_LOCAL_MEM_FENCE);
      const uint from = cursors[turn_of_cursor * GN + gn];
      if (from < outlier_end)
        atomic_min(cursors + (turn_of_cursor ^ 1) * GN + gn,
                   put_outliers(base, &m, wide, from, outlier_end, k0, depth, gm, own_tile));
      barrier(CLK_LOCAL_MEM_FENCE);
      if (row0 < tokens) {
#if STAGE_X
#define OPEN(r) float16 a##r = acc##r;
#define STEP(r) a##r = fma((float16)(rows[k * X_STRIDE + gm * RM + r]), w, a##r);
#else
#define OPEN(r)            \
  float16 a##r = acc##r; \
  global const float* x##r = x + (ulong)min(row0 + r, tokens - 1) * x_row + k0;
#define STEP(r) a##r = fma((float16)(x##r[k]), w, a##r);
#endif
        EACH_ROW(OPEN)
        for (int k = 0; k < depth; ++k) {
          const float16 w = vload16(0, own_tile + k * COLUMNS);
          EACH_ROW(STEP)
        }
#define CLOSE(r) acc##r = a##r;
        EACH_ROW(CLOSE)
#undef OPEN
#undef STEP
#undef CLOSE
      }
      barrier(CLK_LOCAL_MEM_FENCE);
    }
#if REDUCE
#define ADD(r)                                                                          \
  {                                                                                     \
    const int16 fits = isless(fabs(acc##r), (float16)(GRID_LIMIT));                     \
    sum##r += GRID16(acc##r);                                                           \
    if (!all(fits)) sum##r = select((long16)(POISON), sum##r, convert_long16(fits));      \
  }
    EACH_ROW(ADD)
#undef ADD
  }
  const int valid = min(PANEL, out - panel * PANEL);
#define STORE(r)                                                                                  \
  if (active && row0 + r < tokens) {                                                              \
    global long* to = sums + (ulong)(row0 + r) * hidden;                                          \
    long v[PANEL];                                                                                \
    vstore16(sum##r, 0, v);                                                                       \
    for (int n = 0; n < valid; ++n) {                                                             \
      long s = v[n];                                                                              \
      if (resume) s = POISONED(s) || POISONED(to[n]) ? POISON : s + to[n];                        \
      to[n] = as_f64 ? grid_to_f64(s) : s;                                                        \
    }                                                                                             \
  }
  EACH_ROW(STORE)
#undef STORE
#else
  const int valid = min(PANEL, out - panel * PANEL);
  // Biases: Q, K, V [D] each, then attention's and its norm's [D], then Up's [F]; a slice's part begins at slice * out.
  global const float* bias_at = (global const float*)(biases_base + biases_at) +
                                (matrices == 3 ? which : 6) * (ulong)hidden + (ulong)m.slice * out + panel * PANEL;
  float bias_values[PANEL];
  for (int n = 0; n < PANEL; ++n) bias_values[n] = n < valid ? bias_at[n] : 0.0f;
  const float16 bias = vload16(0, bias_values);
  const ulong place = first + member;
  if (matrices == 3 && turn < 2) {
    global float* to =
        (global float*)(out_base + transposed_at) + ((place * 2 + turn) * out + panel * PANEL) * (ulong)row_stride;
#define STORE(r)                                                                        \
  if (active && row0 + r < tokens) {                                                    \
    float v[PANEL];                                                                     \
    vstore16(acc##r + bias, 0, v);                                                      \
    for (int n = 0; n < valid; ++n) to[(ulong)n * row_stride + row0 + r] = v[n];        \
  }
    EACH_ROW(STORE)
#undef STORE
  } else {
    global float* to = (global float*)(out_base + plain_at) + place * tokens * padded + panel * PANEL;
#define STORE(r)                                                              \
  if (active && row0 + r < tokens) {                                          \
    const float16 v = acc##r + bias;                                          \
    vstore16(matrices == 3 ? v : gelu(v), 0, to + (ulong)(row0 + r) * padded); \
  }
    EACH_ROW(STORE)
#undef STORE
  }
#endif
}
#undef REDUCE
