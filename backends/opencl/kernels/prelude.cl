// Shared by all kernels: what a matrix looks like on the device, and the exact grid on which slices are added.
//
// Options: GM work-items over rows, GN over panels, RM rows of a work-item, KT inputs of a tile, STAGE_X whether rows are
// staged in local memory, NORM work-items of a row, GRID_F64 whether double rounds to the grid.
// A buffer is always handed over as (buffer, byte offset), so that one cl_mem can hold many things.
#if GRID_F64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif
#pragma OPENCL FP_CONTRACT ON

#define PANEL 16
#define MATRICES 6
#define DENSE 0u  // Matrix.bits of a matrix that is not coded
#define TYPE_F32 0u
#define TYPE_F16 1u
#define TYPE_BF16 2u
#define TYPE_ZERO 3u  // refused by `locate`: read as zeros

// One slice as the host describes it (launch.h: SliceEntry).
typedef struct {
  ulong offset, bytes;           // in its slot
  uint slot, bits, type, slice;  // bits DENSE: panels of `type`; slice: number in the layer
} Slice;

// One matrix as `locate` found it. Byte offsets in the slot.
typedef struct {
  ulong dictionary, starts, indices, positions, values;
  uint outliers, slot, bits, type, slice, spare;
} Matrix;

// Weights of one launch lie in at most 8 buffers.
#define SLOTS                                                                                                        \
  global const uchar *w0, global const uchar *w1, global const uchar *w2, global const uchar *w3,                    \
      global const uchar *w4, global const uchar *w5, global const uchar *w6, global const uchar *w7
#define SLOT_OF(s) \
  ((s) == 0 ? w0 : (s) == 1 ? w1 : (s) == 2 ? w2 : (s) == 3 ? w3 : (s) == 4 ? w4 : (s) == 5 ? w5 : (s) == 6 ? w6 : w7)

float element(global const uchar* from, uint type, ulong i) {
  if (type == TYPE_F16) return vload_half(i, (global const half*)from);
  if (type == TYPE_BF16) return as_float((uint)((global const ushort*)from)[i] << 16);
  return type == TYPE_F32 ? ((global const float*)from)[i] : 0.0f;
}

// A slice's part of a sum is rounded to multiples of 2^-32 and kept as a count of those: 64-bit sums are exact, so the
// slices' order and partition are free. Parts of 2^19 and more, infinities and NaNs poison the sum.
#define GRID_LIMIT 524288.0f
#define POISON (1L << 61)
#define POISONED(s) ((s) > (1L << 60) || (s) < -(1L << 60))
#if GRID_F64
// In [2^20, 2^21) doubles are 2^-32 apart: the addition rounds (half to even), the mantissa is the count.
#define GRID_ORIGIN 1572864.0
#define GRID16(p) (as_long16(convert_double16(p) + GRID_ORIGIN) - as_long(GRID_ORIGIN))
#else
#define GRID16(p) convert_long16_rte((p) * 4294967296.0f)  // the product is exact
#endif

float grid_to_float(long sum) { return POISONED(sum) ? NAN : convert_float(sum) * 2.3283064365386963e-10f; }

// The bits of the double nearest to sum * 2^-32, by integers only: not every device has doubles.
long grid_to_f64(long sum) {
  if (POISONED(sum)) return 0x7ff8000000000000L;
  if (sum == 0) return 0;
  const ulong sign = sum < 0 ? 1UL << 63 : 0;
  ulong m = abs(sum);
  const int top = 63 - (int)clz(m);  // the leading bit
  if (top <= 52) {
    m <<= 52 - top;
  } else {  // half to even; a carry into bit 53 raises the exponent by itself
    const int drop = top - 52;
    const ulong rest = m & ((1UL << drop) - 1), half_way = 1UL << (drop - 1);
    m >>= drop;
    m += rest > half_way || (rest == half_way && (m & 1));
  }
  return (long)(sign | (((ulong)(top - 32 + 1022) << 52) + m));
}

long f64_to_grid(ulong b) {
  const int exponent = (int)(b >> 52) & 0x7ff;
  ulong m = b & 0xfffffffffffffUL;
  if (exponent >= 1023 + 28) return POISON;  // also infinities and NaNs
  if (exponent == 0) return 0;
  m |= 1UL << 52;
  const int left = exponent - (1075 - 32);
  if (left >= 0) {
    m <<= left;
  } else if (left < -54) {
    m = 0;
  } else {
    const ulong rest = m & ((1UL << -left) - 1), half_way = 1UL << (-left - 1);
    m >>= -left;
    m += rest > half_way || (rest == half_way && (m & 1));
  }
  return b >> 63 ? -(long)m : (long)m;
}
