// Computes one head over one sequence with a streaming softmax: no score is ever kept.
//
//   for each tile of 16 queries, all keys and values pass once:
//
//   q ─► read_rows ─────┐
//   k ─► read_rows ─► scores ──► softmax ──────────────► values ─► store ─► context
//   v ─► read_rows ──────────────│ old max, new max  ──────┘
//                                  running max and sum
//
// For each key u and each of the 16 queries i: s = q[i] k[u] / sqrt(W); m' = max(m, s); a = exp(m - m'), p = exp(s - m');
// sum = sum a + p; acc = acc a + p v[u]. At the end context = acc / sum (online softmax, Milakov & Gimelshein 2018,
// arXiv 1805.02867). Keys are taken in ascending order, so a sequence's bits depend on nothing else.
#pragma once

#include "hls/attention/tile.h"
#include "hls/common/arithmetic.h"
#include "hls/common/real_math.h"
#include "hls/common/rows.h"
#include "hls/common/stream.h"
#include "hls/kernels.h"

namespace tessera::hls::attn {

inline constexpr uint32_t kMostWidth = kMostHeadWidth;
inline constexpr uint32_t kMostGroups = kMostWidth / kLanes;
inline constexpr uint32_t kLinesOfGroup = kLanes / kLineFloats;

struct Job {
  uint32_t tokens, width;
  uint32_t row_lines;                     // of a padded row
  uint32_t groups;                        // of kLanes in a row
  uint32_t tiles;                         // of kQueries
  uint32_t q_at, k_at, v_at, context_at;  // lines
  uint64_t key_groups() const { return static_cast<uint64_t>(tokens) * groups; }
};

// kLanes numbers of a row.
template <typename Tag>
struct Group {
  typename Arithmetic<Tag>::Activation lane[kLanes];
};

// What a query does with one key: its accumulator's old share, and the new value's.
template <typename Tag>
struct Shares {
  typename Arithmetic<Tag>::Share old_share;
  typename Arithmetic<Tag>::Share new_share;
};

template <typename Tag>
struct ContextGroup {
  typename Arithmetic<Tag>::Value lane[kLanes];
};

// Sends group `g` of a row that begins at line `row`: its columns beyond the width are zeros.
template <typename Tag>
void send_group(const Line* port, uint64_t row, uint32_t g, bool there, const Job& job, ::hls::stream<Group<Tag>, 64>& out) {
#pragma HLS INLINE
  Group<Tag> group;
lines_of_group:
  for (uint32_t l = 0; l < kLinesOfGroup; ++l) {
#pragma HLS UNROLL
    const uint32_t at = g * kLinesOfGroup + l;
    Line line = {};
    if (there && at < job.row_lines) line = port[row + at];
  lanes:
    for (uint32_t b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
      const float value = at * kLineFloats + b < job.width ? float_of(line.word[b]) : 0.0f;
      group.lane[l * kLineFloats + b] = typename Arithmetic<Tag>::Activation(value);
    }
  }
  out.write(group);
}

// Sends the queries, padded to whole tiles with zeros.
template <typename Tag>
void read_queries(const Line* q, const Job& job, ::hls::stream<Group<Tag>, 64>& out) {
  uint32_t t = 0, g = 0;
query_groups:
  for (uint64_t i = 0; i < static_cast<uint64_t>(job.tiles) * kQueries * job.groups; ++i) {
#pragma HLS PIPELINE II = 2
    send_group<Tag>(q, job.q_at + static_cast<uint64_t>(t) * job.row_lines, g, t < job.tokens, job, out);
    if (++g == job.groups) g = 0, ++t;
  }
}

// Sends keys or values, all of them for each tile of queries.
template <typename Tag>
void read_rows(const Line* port, uint32_t first, const Job& job, ::hls::stream<Group<Tag>, 64>& out) {
  uint32_t u = 0, g = 0;
row_groups:
  for (uint64_t i = 0; i < static_cast<uint64_t>(job.tiles) * job.key_groups(); ++i) {
#pragma HLS PIPELINE II = 2
    send_group<Tag>(port, first + static_cast<uint64_t>(u) * job.row_lines, g, true, job, out);
    if (++g == job.groups) {
      g = 0;
      if (++u == job.tokens) u = 0;
    }
  }
}

template <typename Tag>
typename Arithmetic<Tag>::Sum dot(const Group<Tag>& a, const Group<Tag>& b) {
#pragma HLS INLINE
  using Sum = typename Arithmetic<Tag>::Sum;
  Sum product[kLanes];
products:
  for (uint32_t i = 0; i < kLanes; ++i) {
#pragma HLS UNROLL
    product[i] = static_cast<Sum>(a.lane[i] * b.lane[i]);
  }
  return tree_sum(product);
}

// Scores of one key against the queries of a tile, in the order of the queries.
template <typename Tag>
void scores(const Job& job, float scale, ::hls::stream<Group<Tag>, 64>& queries, ::hls::stream<Group<Tag>, 64>& keys,
            ::hls::stream<float, 32>& out) {
  using A = Arithmetic<Tag>;
score_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
    Group<Tag> query[kQueries][kMostGroups];
  hold_queries:
    for (uint32_t i = 0; i < kQueries * job.groups; ++i) {
#pragma HLS PIPELINE II = 1
      query[i / job.groups][i % job.groups] = queries.read();
    }
    typename A::Sum sum[kQueries];
    Group<Tag> key;
    uint32_t g = 0;
  score_keys:
    for (uint64_t u = 0; u < job.key_groups(); ++u) {
    score_queries:
      for (uint32_t i = 0; i < kQueries; ++i) {
#pragma HLS PIPELINE II = 1
        if (i == 0) key = keys.read();
        const typename A::Sum product = dot<Tag>(query[i][g], key);
        sum[i] = g == 0 ? product : static_cast<typename A::Sum>(sum[i] + product);
        if (g + 1 == job.groups) out.write(A::real(sum[i]) * scale);
        if (i + 1 == kQueries) g = g + 1 == job.groups ? 0 : g + 1;
      }
    }
  }
}

// Running maximum and sum of each query; fp32 in every instance.
template <typename Tag>
void softmax(const Job& job, ::hls::stream<float, 32>& scores_in, ::hls::stream<Shares<Tag>, 32>& shares,
             ::hls::stream<float, 32>& sums) {
  using Share = typename Arithmetic<Tag>::Share;
softmax_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
    float highest[kQueries] = {};
    float sum[kQueries] = {};
  softmax_keys:
    for (uint32_t u = 0; u < job.tokens; ++u) {
    softmax_queries:
      for (uint32_t i = 0; i < kQueries; ++i) {
#pragma HLS PIPELINE II = 1
        const float score = scores_in.read();
        const float before = u == 0 ? score : highest[i];
        const float now = score > before ? score : before;
        const float old_share = real_exp(before - now);
        const float new_share = real_exp(score - now);
        highest[i] = now;
        sum[i] = (u == 0 ? 0.0f : sum[i] * old_share) + new_share;
        shares.write({Share(old_share), Share(new_share)});
        if (u + 1 == job.tokens) sums.write(sum[i]);
      }
    }
  }
}

// acc = acc * old share + value * new share, for each query; the accumulators leave after the last key.
template <typename Tag>
void weigh_values(const Job& job, ::hls::stream<Shares<Tag>, 32>& shares, ::hls::stream<Group<Tag>, 64>& values,
                  ::hls::stream<ContextGroup<Tag>, 32>& out) {
  using Value = typename Arithmetic<Tag>::Value;
value_tiles:
  for (uint32_t tile = 0; tile < job.tiles; ++tile) {
    ContextGroup<Tag> sum[kQueries][kMostGroups];
    Shares<Tag> share[kQueries];
    Group<Tag> value;
    uint32_t g = 0;
  value_keys:
    for (uint64_t u = 0; u < job.key_groups(); ++u) {
    value_queries:
      for (uint32_t i = 0; i < kQueries; ++i) {
#pragma HLS PIPELINE II = 1
        if (i == 0) value = values.read();
        if (g == 0) share[i] = shares.read();
      lanes:
        for (uint32_t b = 0; b < kLanes; ++b) {
#pragma HLS UNROLL
          const Value kept = u < job.groups ? Value(0) : static_cast<Value>(sum[i][g].lane[b] * share[i].old_share);
          sum[i][g].lane[b] = static_cast<Value>(kept + static_cast<Value>(value.lane[b] * share[i].new_share));
        }
        if (i + 1 == kQueries) g = g + 1 == job.groups ? 0 : g + 1;
      }
    }
  send_sums:
    for (uint32_t i = 0; i < kQueries * job.groups; ++i) {
#pragma HLS PIPELINE II = 1
      out.write(sum[i / job.groups][i % job.groups]);
    }
  }
}

// context = acc / sum. A sum that is no number (a score was infinite or none) is reported.
template <typename Tag>
void store(Line* context, const Job& job, ::hls::stream<float, 32>& sums, ::hls::stream<ContextGroup<Tag>, 32>& groups,
           bool& overflow) {
  bool seen = false;
store_queries:
  for (uint32_t t = 0; t < job.tiles * kQueries; ++t) {
    const float sum = sums.read();
    const float share = 1.0f / sum;
    const bool there = t < job.tokens;
    if (there && !(sum >= 0.5f && sum <= 3.0e38f)) seen = true;  // one key's share is exp(0)
  store_groups:
    for (uint32_t g = 0; g < job.groups; ++g) {
      const ContextGroup<Tag> group = groups.read();
    store_lines:
      for (uint32_t l = 0; l < kLinesOfGroup; ++l) {
#pragma HLS PIPELINE II = 1
        const uint32_t at = g * kLinesOfGroup + l;
        Line line;
      lanes:
        for (uint32_t b = 0; b < kLineFloats; ++b) {
#pragma HLS UNROLL
          const float value = Arithmetic<Tag>::real(group.lane[l * kLineFloats + b]) * share;
          line.word[b] = at * kLineFloats + b < job.width ? bits_of(value) : 0;
        }
        if (there && at < job.row_lines) context[job.context_at + static_cast<uint64_t>(t) * job.row_lines + at] = line;
      }
    }
  }
  overflow = seen;
}

// ---- the kernel

template <typename Tag>
void stream_tiles(const Line* q, const Line* k, const Line* v, Line* context, const Job& job, float scale, bool& overflow) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  ::hls::stream<Group<Tag>, 64> queries, keys, values;
  ::hls::stream<float, 32> score, sums;
  ::hls::stream<Shares<Tag>, 32> shares;
  ::hls::stream<ContextGroup<Tag>, 32> groups;
  read_queries<Tag>(q, job, queries);
  read_rows<Tag>(k, job.k_at, job, keys);
  read_rows<Tag>(v, job.v_at, job, values);
  scores<Tag>(job, scale, queries, keys, score);
  softmax<Tag>(job, score, shares, sums);
  weigh_values<Tag>(job, shares, values, groups);
  store<Tag>(context, job, sums, groups, overflow);
}

template <typename Tag>
KernelStatus run(const Line* q, const Line* k, const Line* v, Line* context, Job job) {
  if (job.tokens > kMostTokens || job.width == 0 || job.width > kMostWidth) return kStatusRefused;
  if (job.tokens == 0) return kStatusDone;
  job.row_lines = padded_row(job.width) / kLineFloats;
  job.groups = (job.width + kLanes - 1) / kLanes;
  job.tiles = (job.tokens + kQueries - 1) / kQueries;
  bool overflow = false;
  stream_tiles<Tag>(q, k, v, context, job, 1.0f / real_sqrt(static_cast<float>(job.width)), overflow);
  return overflow ? kStatusOverflow : kStatusDone;
}

}  // namespace tessera::hls::attn
