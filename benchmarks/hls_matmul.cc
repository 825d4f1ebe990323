// Checks the HLS matmul in C simulation against the plain linear operator, then prints what its cycle model predicts: GOPS
// and the share of the array's peak, for every matrix of a slice.
//
//   bench_hls_matmul [BITS]      1..8 or 32; 6 where not given
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "framework/reference_ops.h"
#include "hls/cycles/layer_cycles.h"
#include "hls/kernels.h"
#include "shards/flat_codec.h"

namespace tessera {
namespace {

constexpr double kClock = 300e6;
constexpr int kTokens[] = {1, 16, 25, 64, 128};
const char* const kNames[kMatrixCount] = {"Q", "K", "V", "O", "Up", "Down"};

using Top = decltype(&matmul);

// One slice's shard of random weights, coded, on 64-byte lines; and what each matrix means.
struct Slice {
  ModelShape shape;
  std::vector<hls::Line> lines;
  std::array<uint32_t, kMatrixCount> at{};        // lines
  std::array<uint32_t, kMatrixCount> outliers{};  // in each matrix
  DenseShard meant;
};

Slice random_slice(const char* name, int slices, int hidden, int ffn, Bits bits) {
  Slice s;
  s.shape.name = name;
  s.shape.slices = s.shape.heads = slices;
  s.shape.hidden = hidden;
  s.shape.ffn = ffn;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.05f);
  DenseShard dense;
  for (int i = 0; i < kMatrixCount; ++i) {
    dense[i].resize(static_cast<size_t>(matrix_dims(s.shape, static_cast<MatrixKind>(i)).weights()));
    for (float& w : dense[i]) w = normal(random);
  }
  const auto coded = bits == kExact ? encode_exact(s.shape, dense, ElementType::kF16)
                                    : encode_flat(s.shape, dense, bits, ElementType::kF16);
  const auto size = static_cast<int64_t>(coded.size());
  s.lines.resize((coded.size() + 63) / 64 + 1);
  std::memcpy(s.lines.data(), coded.data(), coded.size());
  const auto* base = reinterpret_cast<const std::byte*>(s.lines.data());
  s.meant = decode_shard(s.shape, bits, ElementType::kF16, base, size).take();
  if (bits == kExact) {
    const DenseLayout layout = dense_layout(s.shape, 2);
    for (int i = 0; i < kMatrixCount; ++i) s.at[i] = static_cast<uint32_t>(layout.offset[i] / hls::kLineBytes);
    return s;
  }
  const auto matrices = parse_coded_shard(s.shape, bits, ElementType::kF16, base, size).take();
  for (int i = 0; i < kMatrixCount; ++i) {
    const auto* begin = reinterpret_cast<const std::byte*>(matrices[i].dictionary);
    s.at[i] = static_cast<uint32_t>((begin - base) / hls::kLineBytes);
    s.outliers[i] = matrices[i].outlier_count();
  }
  return s;
}

// The worst difference from the reference over its largest value; negative where the kernel did not end well.
double error_of(Top top, const Slice& s, int matrix, int tokens, Bits bits, double& seconds) {
  const MatrixDims dims = matrix_dims(s.shape, static_cast<MatrixKind>(matrix));
  const uint32_t x_stride = hls::padded_row(dims.in), y_stride = hls::padded_row(dims.out);
  std::vector<hls::Line> x(static_cast<size_t>(tokens) * x_stride / 16), y(static_cast<size_t>(tokens) * y_stride / 16);
  std::vector<float> plain(static_cast<size_t>(tokens) * dims.in), bias(dims.out),
      want(static_cast<size_t>(tokens) * dims.out);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& v : bias) v = normal(random);
  for (float& v : plain) v = normal(random);
  auto* rows = reinterpret_cast<float*>(x.data());
  for (size_t i = 0; i < plain.size(); ++i) rows[i / dims.in * x_stride + i % dims.in] = plain[i];
  const auto* halves = reinterpret_cast<const uint16_t*>(s.lines.data());
  uint32_t status = 0;
  const auto begin = std::chrono::steady_clock::now();
  top(x.data(), s.lines.data(), halves, halves, bias.data(), y.data(), 0, s.at[matrix], 0, 0, 0, tokens, dims.in, dims.out,
      x_stride, y_stride, bits, static_cast<uint32_t>(ElementType::kF16), hls::kStore, &status);
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (status != hls::kStatusDone) return -1;
  reference::linear(plain, s.meant[matrix], bias, tokens, dims.in, dims.out, want);
  const auto* got = reinterpret_cast<const float*>(y.data());
  double worst = 0, largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double off = std::abs(static_cast<double>(got[i / dims.out * y_stride + i % dims.out]) - want[i]);
    worst = off <= worst ? worst : off;
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
  }
  return worst / largest;
}

// One row of the table; false where C simulation and reference differ.
template <typename Tag>
bool report(const char* element, Top top, double tolerance, const Slice& s, int matrix, int tokens, Bits bits) {
  const MatrixDims dims = matrix_dims(s.shape, static_cast<MatrixKind>(matrix));
  double seconds = 0;
  const double error = error_of(top, s, matrix, tokens, bits, seconds);
  const bool sums =
      static_cast<MatrixKind>(matrix) == MatrixKind::kOutput || static_cast<MatrixKind>(matrix) == MatrixKind::kDown;
  const hls::CallCost cost = hls::mm::matmul_cost<Tag>({static_cast<uint64_t>(tokens), static_cast<uint64_t>(dims.in),
                                                        static_cast<uint64_t>(dims.out), bits, 2, s.outliers[matrix], sums});
  const double gops = 2 * static_cast<double>(cost.multiply_adds) / (static_cast<double>(cost.cycles) / kClock) / 1e9;
  const bool good = error >= 0 && error <= tolerance;
  std::printf("%-10s %-5s %4dx%-4d %6d  %-7s %9lu %8.1f %6.1f %%  %8.1e%s %8.2f\n", s.shape.name.c_str(), kNames[matrix],
              dims.out, dims.in, tokens, element, static_cast<unsigned long>(cost.cycles), gops,
              100 * hls::mm::share_of_peak<Tag>(cost), error, good ? "" : " WRONG", seconds * 1e3);
  return good;
}

int run(Bits bits) {
  std::printf(
      "modelled at %.0f MHz: fp32 %u MACs, peak %.1f GOPS; fixed16 %u MACs, peak %.1f GOPS. %d bits, outliers as coded\n",
      kClock / 1e6, hls::mm::MatmulTile<hls::Real>::kMacs, 2 * hls::mm::MatmulTile<hls::Real>::kMacs * kClock / 1e9,
      hls::mm::MatmulTile<hls::Fixed16>::kMacs, 2 * hls::mm::MatmulTile<hls::Fixed16>::kMacs * kClock / 1e9, bits);
  std::printf("%-10s %-5s %9s %6s  %-7s %9s %8s %8s  %8s %8s\n", "model", "", "out x in", "tokens", "element", "cycles",
              "GOPS", "of peak", "error", "csim ms");
  bool good = true;
  const Slice models[] = {random_slice("minilm6", 12, 384, 1536, bits), random_slice("bert-base", 12, 768, 3072, bits)};
  for (const Slice& s : models)
    for (const int matrix : {0, 3, 4, 5})
      for (const int tokens : kTokens) {
        good &= report<hls::Real>("fp32", &matmul, 2e-6, s, matrix, tokens, bits);
#ifdef TESSERA_HLS_FIXED
        if (tokens == 25 || tokens == 128)
          good &= report<hls::Fixed16>("fixed16", &matmul_fixed, 4e-3, s, matrix, tokens, bits);
#endif
      }
  std::printf(good ? "C simulation equals the reference: fp32 within 2e-6 of the largest value, fixed16 within 4e-3\n"
                   : "C simulation DIFFERS from the reference\n");
  return good ? 0 : 1;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  const int bits = argc > 1 ? std::atoi(argv[1]) : 6;
  if (!tessera::valid_bits(bits)) {
    std::fprintf(stderr, "bench_hls_matmul: bits '%s'; known: 1 to 8, 32\n", argv[1]);
    return 2;
  }
  return tessera::run(static_cast<tessera::Bits>(bits));
}
