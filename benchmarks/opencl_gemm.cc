// Times products on an OpenCL device with dictionary-coded weights against dense ones, same kernels, same sizes.
//
// bench_opencl_gemm [--device opencl0] [--hidden 384] [--ffn 1536] [--slices 12] [--tokens 8,32,128] [--bits 2,4,6,8]
//                   [--rounds 20] [--tune] [--tuning TEXT]
// The work is an FFN over all slices: [T, D] x [D, F], GELU, [T, F] x [F, D]. Each form's result is checked against the
// plain reference first. Weights go over the link as the executor sends them; times are the device's own where they are
// credible.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "framework/clock.h"
#include "framework/reference_ops.h"
#include "framework/registry.h"
#include "shards/codec_elements.h"
#include "shards/flat_codec.h"

namespace tessera {
void register_backends();
namespace {

struct Options {
  std::string device = "opencl0";
  int hidden = 384, ffn = 1536, slices = 12, rounds = 20;
  std::vector<int> tokens = {8, 32, 128}, bits = {2, 4, 6, 8};
  bool tune = false;
  std::string tuning;
};

template <typename T>
T need(Result<T> result) {
  if (result.ok()) return result.take();
  std::cerr << result.error().message << "\n";
  std::exit(5);
}
void need(const Status& status) {
  if (status.ok()) return;
  std::cerr << status.error().message << "\n";
  std::exit(5);
}

// The device under test and its link, as the executor drives them.
class Bench {
 public:
  explicit Bench(const Options& o) {
    register_backends();
    const auto* entry = backends().find("opencl");
    if (entry == nullptr) std::cerr << "this build has no OpenCL backend (opencl-headers)\n", std::exit(2);
    backend_ = entry->make({});
    const auto all = backend_->describe();
    const auto at = std::find_if(all.begin(), all.end(), [&](const DeviceDescription& d) { return d.name == o.device; });
    if (at == all.end() || !at->available) {
      std::cerr << o.device << ": " << (at == all.end() ? "no such device" : at->why) << "\n";
      std::exit(2);
    }
    device_ = static_cast<int>(at - all.begin());
    for (const auto& [name, value] : at->properties) std::cout << name << ": " << value << "\n";
    const auto link = std::find_if(all.begin(), all.end(), [&](const DeviceDescription& d) { return d.name == at->link; });
    link_ = link == all.end() ? device_ : static_cast<int>(link - all.begin());
  }
  ~Bench() {
    for (const auto& buffer : buffers_) backend_->release(*buffer);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  Backend& backend() { return *backend_; }
  int device() const { return device_; }
  MemoryRef allocate(int64_t bytes) {
    buffers_.push_back(std::make_unique<Buffer>(need(backend_->allocate(device_, Bytes{bytes}))));
    return {buffers_.back().get(), 0};
  }
  // Microseconds of a task, by the device's events if they can be believed.
  double run(bool on_link, const Task& task, const Operands& operands) {
    const int d = on_link ? link_ : device_;
    const Duration start = WallClock::instance().now();
    const Ticket ticket = need(backend_->submit(d, task, operands));
    need(backend_->wait(d, ticket, kForever));
    const Duration wall = WallClock::instance().now() - start;
    const auto own = backend_->measured(d, ticket);
    (own ? by_events_ : by_host_) += 1;
    return own.value_or(wall).us();
  }
  double send(MemoryRef to, const void* from, int64_t bytes) {
    Buffer host;
    host.host = static_cast<std::byte*>(const_cast<void*>(from));
    host.bytes = Bytes{bytes};
    const Move move{to, {&host, 0}, Bytes{bytes}};
    Task task;
    task.kind = TaskKind::kTransfer;
    task.cost.op = Op::kTransfer;
    task.cost.bytes = bytes;
    Operands operands;
    operands.moves = {&move, 1};
    return run(true, task, operands);
  }
  std::string clocks() const {
    return std::to_string(by_events_) + " times by the device's events, " + std::to_string(by_host_) +
           " by the host's clock";
  }

 private:
  std::unique_ptr<Backend> backend_;
  int device_ = 0, link_ = 0;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  int by_events_ = 0, by_host_ = 0;
};

ModelShape shape_of(const Options& o) {
  ModelShape shape;
  shape.name = "bench";
  shape.layers = 1;
  shape.slices = shape.heads = o.slices;
  shape.hidden = o.hidden;
  shape.ffn = o.ffn;
  shape.labels = 2;
  shape.max_tokens = std::max(1, *std::max_element(o.tokens.begin(), o.tokens.end()));
  shape.stored_exact_bits = 16;
  return shape;
}

std::vector<float> random_values(size_t count, uint32_t seed, float sigma) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// Random weights, one in 500 an outlier, rounded to fp16 as stored.
std::vector<DenseShard> random_layer(const ModelShape& shape) {
  std::vector<DenseShard> layer(shape.slices);
  for (int j = 0; j < shape.slices; ++j) {
    for (int i = 0; i < kMatrixCount; ++i) {
      const auto count = static_cast<size_t>(matrix_dims(shape, static_cast<MatrixKind>(i)).weights());
      auto& w = layer[j][i] = random_values(count, static_cast<uint32_t>(100 * j + i), 0.04f);
      for (size_t k = 0; k < count; k += 500) w[k] *= 8;
      std::vector<std::byte> stored(2 * count);
      encode_elements(ElementType::kF16, w.data(), static_cast<int64_t>(count), stored.data());
      decode_elements(ElementType::kF16, stored.data(), static_cast<int64_t>(count), w.data());
    }
  }
  return layer;
}

// All slices in one form, on the device in one buffer.
struct Form {
  std::string name;
  std::vector<WeightRef> refs;
  std::vector<reference::SliceWeights> plain;
  int64_t bytes = 0;
  double link_us = 1e30;
  std::vector<double> us;  // of the current token count
};

Form make_form(Bench& bench, const ModelShape& shape, const std::vector<DenseShard>& layer, int bits, bool decoded) {
  Form form;
  form.name = decoded ? "dense fp32" : bits == kExact ? "dense fp16" : std::to_string(bits) + " bits";
  std::vector<std::byte> all;
  for (int j = 0; j < shape.slices; ++j) {
    std::vector<std::byte> stored = bits == kExact
                                        ? encode_exact(shape, layer[j], ElementType::kF16)
                                        : encode_flat(shape, layer[j], static_cast<Bits>(bits), ElementType::kF16);
    const DenseShard meant = need(
        decode_shard(shape, static_cast<Bits>(bits), ElementType::kF16, stored.data(), static_cast<int64_t>(stored.size())));
    form.plain.push_back({meant[0], meant[1], meant[2], meant[3], meant[4], meant[5]});
    if (decoded) {
      const std::vector<float> panels = to_panels(shape, meant);
      const auto* at = reinterpret_cast<const std::byte*>(panels.data());
      stored.assign(at, at + panels.size() * 4);
    }
    WeightRef ref{j, static_cast<Bits>(bits), decoded ? WeightForm::kDecoded : WeightForm::kCoded, ElementType::kF16, {}, 0};
    ref.bytes = static_cast<int64_t>(stored.size());
    ref.data.offset = static_cast<int64_t>(all.size());
    form.refs.push_back(ref);
    all.insert(all.end(), stored.begin(), stored.end());
    all.resize((all.size() + 63) / 64 * 64);
  }
  form.bytes = static_cast<int64_t>(all.size());
  const MemoryRef there = bench.allocate(form.bytes);
  for (WeightRef& ref : form.refs) ref.data.buffer = there.buffer;
  for (int round = 0; round < 5; ++round) form.link_us = std::min(form.link_us, bench.send(there, all.data(), form.bytes));
  return form;
}

// The FFN of one token count on every form.
class Products {
 public:
  Products(Bench& bench, const ModelShape& shape, int tokens)
      : bench_(bench),
        shape_(shape),
        starts_{0, tokens},
        x_(random_values(static_cast<size_t>(tokens) * shape.hidden, 7, 1)) {
    const auto d = static_cast<size_t>(shape.hidden);
    biases_.up = random_values(static_cast<size_t>(shape.ffn), 8, 0.2f);
    biases_.query = biases_.key = biases_.value = random_values(d, 9, 0.2f);
    zeros_.resize(d);
    const float* z = zeros_.data();
    residents_ = {1, z, z, z, z, z, z, biases_.up.data(), z, z, z};
    task_.cost.op = Op::kFfnPart;
    task_.cost.tokens = static_cast<uint16_t>(tokens);
    task_.cost.slices = static_cast<uint8_t>(shape.slices);
    operands_.shape = &shape_;
    operands_.batch.starts = starts_;
    operands_.residents = &residents_;
    operands_.input = bench.allocate(static_cast<int64_t>(x_.size()) * 4);
    operands_.output = bench.allocate(static_cast<int64_t>(x_.size()) * 8);
    operands_.workspace_bytes = bench.backend().estimate(bench.device(), task_.cost, shape).workspace.n;
    operands_.workspace = bench.allocate(operands_.workspace_bytes);
    bench.send(operands_.input, x_.data(), static_cast<int64_t>(x_.size()) * 4);
  }

  double run(Form& form) {
    operands_.weights = form.refs;
    return bench_.run(false, task_, operands_);
  }

  // Largest distance from the reference, relative to its largest value.
  double check(Form& form) {
    run(form);
    std::vector<double> got(x_.size()), want(x_.size());
    Buffer host;
    host.host = reinterpret_cast<std::byte*>(got.data());
    host.bytes = Bytes{static_cast<int64_t>(got.size()) * 8};
    need(bench_.backend().transfer(bench_.device(), {&host, 0}, operands_.output, host.bytes));
    std::vector<reference::SlicePart> parts;
    for (int j = 0; j < shape_.slices; ++j) parts.push_back({j, &form.plain[j]});
    reference::ffn_part(shape_, x_, starts_[1], parts, biases_, want);
    double scale = 0, worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      scale = std::max(scale, std::fabs(want[i]));
      worst = std::max(worst, std::fabs(got[i] - want[i]));
    }
    return worst / scale;
  }

 private:
  Bench& bench_;
  const ModelShape& shape_;
  std::vector<int32_t> starts_;
  std::vector<float> x_, zeros_;
  reference::LayerBiases biases_;
  LayerResidents residents_;
  Task task_;
  Operands operands_;
};

void report(const ModelShape& shape, int tokens, const std::vector<Form>& forms) {
  const double dense = forms.front().us.front(), dense_whole = dense + forms.front().link_us;
  const double work = 4.0 * tokens * shape.hidden * shape.ffn;
  for (const Form& f : forms) {
    const double least = f.us.front();
    std::printf("| %d | %s | %.0f | %.0f | %.0f | %.0f | %.1f | %.2f | %.2f |\n", tokens, f.name.c_str(), f.bytes / 1024.0,
                f.link_us, least, f.us[f.us.size() / 2], work / least / 1e3, least / dense,
                (least + f.link_us) / dense_whole);
  }
}

int run(const Options& o) {
  Bench bench(o);
  const ModelShape shape = shape_of(o);
  if (o.tune) std::cout << "tuned: " << need(bench.backend().tune(bench.device(), shape)) << "\n";
  if (!o.tuning.empty()) need(bench.backend().set_tuning(bench.device(), o.tuning));
  const auto layer = random_layer(shape);
  std::vector<Form> forms;
  forms.push_back(make_form(bench, shape, layer, kExact, true));
  forms.push_back(make_form(bench, shape, layer, kExact, false));
  for (const int bits : o.bits) forms.push_back(make_form(bench, shape, layer, bits, false));
  std::printf("\n[T, %d] x [%d, %d], GELU, [T, %d] x [%d, %d]; KiB are those of whole shards (attention too)\n", o.hidden,
              o.hidden, o.ffn, o.ffn, o.ffn, o.hidden);
  std::printf(
      "| T | weights | KiB moved | link us | least us | median us | GFLOP/s | / dense fp32 | moved and computed |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|\n");
  for (const int tokens : o.tokens) {
    Products products(bench, shape, tokens);
    for (Form& form : forms) {
      form.us.clear();
      const double off = products.check(form);
      if (!(off <= 2e-5)) return std::cerr << form.name << ": off by " << off << " of the largest value\n", 1;
    }
    for (int round = 0; round < o.rounds; ++round)
      for (Form& form : forms) form.us.push_back(products.run(form));
    for (Form& form : forms) std::sort(form.us.begin(), form.us.end());
    report(shape, tokens, forms);
  }
  std::cout << bench.clocks() << "\n";
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int count, char** words) {
  tessera::Options o;
  CLI::App app("Products with coded and with dense weights on an OpenCL device");
  app.add_option("--device", o.device);
  app.add_option("--hidden", o.hidden)->check(CLI::Range(1, 8192));
  app.add_option("--ffn", o.ffn)->check(CLI::Range(1, 32768));
  app.add_option("--slices", o.slices, "heads, and shares of the FFN")->check(CLI::Range(1, 64));
  app.add_option("--tokens", o.tokens)->delimiter(',')->check(CLI::Range(1, 4096));
  app.add_option("--bits", o.bits)->delimiter(',')->check(CLI::Range(1, 8));
  app.add_option("--rounds", o.rounds)->check(CLI::Range(1, 100000));
  app.add_flag("--tune", o.tune, "choose the tiles by measuring, first");
  app.add_option("--tuning", o.tuning, "take these tiles: a text that --tune printed");
  CLI11_PARSE(app, count, words);
  return tessera::run(o);
}
