// Checks what a device does with its operands: stays inside them, refuses bad ones by name, keeps residents by their id.
#include <algorithm>
#include <cctype>
#include <cstring>
#include <functional>

#include "framework/reference_ops.h"
#include "tests/conformance/contract_checks.h"
#include "tests/conformance/small_cases.h"

namespace tessera::conformance {
namespace {

bool has_digit(const std::string& text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// A way to spoil good operands. `sized`: the message must tell a number.
struct Damage {
  const char* what;
  bool sized;
  std::function<void(Operands&, std::vector<WeightRef>&)> spoil;
};

// Host memory that no device allocated.
Buffer foreign_buffer() {
  static std::vector<std::byte> memory(1 << 16);
  return host_view(memory.data(), static_cast<int64_t>(memory.size()));
}

std::vector<Damage> damages(const Subject& s, const SmallWork& good) {
  std::vector<Damage> all = {
      {"no output", false, [](Operands& o, auto&) { o.output = {}; }},
      {"no input", false, [](Operands& o, auto&) { o.input = {}; }},
      {"an output that ends early", true, [](Operands& o, auto&) { o.output.offset = o.output.buffer->bytes.n - 64; }},
      {"an input that ends early", true, [](Operands& o, auto&) { o.input.offset = o.input.buffer->bytes.n - 64; }},
      {"an output that starts before its buffer", false, [](Operands& o, auto&) { o.output.offset = -64; }},
      {"weights that are nowhere", false, [](Operands&, auto& w) { w[1].data = {}; }},
      {"weights that end early", true, [](Operands&, auto& w) { w[2].data.offset = w[2].data.buffer->bytes.n / 128 * 64; }},
      {"a slice that the model has not", true, [](Operands&, auto& w) { w[3].slice = 70; }},
      {"no weights", false, [](Operands& o, auto&) { o.weights = {}; }},
      {"no residents", false, [](Operands& o, auto&) { o.residents = nullptr; }},
      {"no batch", false, [](Operands& o, auto&) { o.batch = {}; }},
      {"no shape", false, [](Operands& o, auto&) { o.shape = nullptr; }},
  };
  if (good.operands.workspace_bytes > 64)
    all.push_back({"too little workspace", true, [](Operands& o, auto&) { o.workspace_bytes -= 64; }});
  static Buffer foreign = foreign_buffer();
  if (s.description.own_buffers && !s.description.host_visible)
    all.push_back({"an input in host memory", false, [](Operands& o, auto&) { o.input = {&foreign, 0}; }});
  return all;
}

}  // namespace

Finding refuses_bad_operands(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  for (const Damage& damage : damages(s, *work)) {
    Operands operands = work->operands;
    std::vector<WeightRef> weights(operands.weights.begin(), operands.weights.end());
    operands.weights = weights;
    damage.spoil(operands, weights);
    const Result<Ticket> ticket = s.backend->submit(s.device, work->task, operands);
    Status status;
    if (!ticket.ok()) status = ticket.error();
    if (ticket.ok() && *ticket != kDone) status = s.backend->wait(s.device, *ticket, s.soon());
    f.expect(!status.ok(), std::string(damage.what) + " was not noticed");
    if (status.ok()) continue;
    const std::string& message = status.error().message;
    f.expect(s.named_in(message), std::string(damage.what) + ": the error names no device: " + message);
    f.expect(!damage.sized || has_digit(message), std::string(damage.what) + ": the error tells no number: " + message);
  }
  f.expect(perform(s, work->task, work->operands), "a good task after bad ones");
  f.expect(work->wrong().empty(), "a good task after bad ones: " + work->wrong());
  return f;
}

Finding stays_inside(const Subject& s) {
  Finding f;
  for (const RandomLayer& layer : layers()) {
    Runner runner(s, f, layer);
    runner.guarded();
    for (const int tokens : {1, 19}) {
      const Weights weights = mixed_weights(layer, testing::all_slices(layer), {3, kExact}, WeightForm::kCoded);
      if (!runner.supports(Op::kLayer, tokens, weights)) continue;
      const std::vector<float> x = layer.input(tokens);
      runner.layer_op<float>(Op::kLayer, weights, x, {0, tokens});
      const auto attention = runner.layer_op<double>(Op::kAttentionPart, weights, x, {0, tokens});
      const auto ffn = runner.layer_op<double>(Op::kFfnPart, weights, x, {0, tokens});
      runner.combine({attention, ffn}, x, false);
      CostKey embedding;
      embedding.op = Op::kEmbed, embedding.tokens = static_cast<uint16_t>(tokens);
      if (!s.backend->supports(s.device, embedding, layer.shape).yes) continue;
      const EmbedCase embed(layer, tokens);
      Operands operands;
      operands.rows = &embed.refs;
      runner.small(Op::kEmbed, operands, {}, {0, tokens}, embed.want.size());
    }
    const ExitCase exit(layer);
    Operands operands;
    operands.exit = &exit.refs;
    CostKey key;
    key.op = Op::kExit, key.tokens = 7, key.batch = 2;
    if (s.backend->supports(s.device, key, layer.shape).yes)
      runner.small(Op::kExit, operands, exit.x, exit.starts, exit.want.size());
  }
  return f;
}

Finding works_in_place(const Subject& s) {
  Finding f;
  const auto work = small_work(s);
  f.expect(work->ready, "operands");
  if (!work->ready.ok()) return f;
  const MemoryRef output = work->operands.output;
  work->operands.output = work->operands.input;
  f.expect(perform(s, work->task, work->operands), "output in the input's place");
  f.expect(work->wrong().empty(), "output in the input's place: " + work->wrong());
  work->operands.output = output;
  return f;
}

// The same id may be answered from the device's copy; another id, and the id 0 each time, must bring its own content.
Finding keeps_residents_by_id(const Subject& s) {
  Finding f;
  constexpr int kTokens = 11;
  RandomLayer layer(4, 16, 32, ElementType::kF16, 1);
  const Weights weights = testing::weights_of(layer, testing::all_slices(layer), 6, WeightForm::kCoded);
  Runner runner(s, f, layer);
  if (!runner.supports(Op::kLayer, kTokens, weights)) {
    f.skipped = s.description.name + " supports no such layer";
    return f;
  }
  const std::vector<float> x = layer.input(kTokens);
  const auto compare = [&](uint64_t id, const std::string& what) {
    std::vector<float> want(x.size());
    reference::layer(layer.shape, x, kTokens, weights.parts(), layer.biases, want);
    runner.residents().id = id;
    expect_close(f, runner.layer_op<float>(Op::kLayer, weights, x, {0, kTokens}), want, s.declaration->tolerance, what);
  };
  const auto change = [&] {  // in place: the same addresses, other content
    for (float& b : layer.biases.down) b += 0.75f;
    for (float& b : layer.biases.query) b = -b;
    for (float& w : layer.biases.ffn_norm_weight) w *= 1.5f;
  };
  // Nobody else's: ids of this suite end in 77, and each backend instance sees each once.
  static uint64_t next = 0;
  const uint64_t first = 1'000'077 + 1000 * ++next, second = first + 1'000'000'000;
  compare(first, "first content");
  compare(first, "the same id again");
  change();
  compare(second, "another id, other content at the same addresses");
  compare(second, "that id again");
  compare(0, "no id");
  change();
  compare(0, "no id, changed content");
  return f;
}

// Memory that the host may write is read by the next task that is submitted.
Finding host_writes_are_seen(const Subject& s) {
  Finding f;
  if (s.description.own_buffers && !s.description.host_visible) {
    f.skipped = s.description.name + " has memory of its own, which the host does not see";
    return f;
  }
  const RandomLayer& layer = layers()[0];
  Runner runner(s, f, layer);
  const Weights weights = testing::weights_of(layer, testing::all_slices(layer), 4, WeightForm::kCoded);
  const std::vector<float> x = layer.input(9);
  const std::vector<float> copied = runner.layer_op<float>(Op::kLayer, weights, x, {0, 9});
  std::vector<WeightRef> written = weights.refs;
  for (size_t i = 0; i < written.size(); ++i) {
    written[i].data = runner.memory().empty(weights.blocks[i].bytes());
    f.expect(written[i].data && written[i].data.buffer->host != nullptr, "a buffer without a host address");
    if (!f.failures.empty()) return f;
    std::memcpy(written[i].data.as<std::byte>(), weights.blocks[i].ref().as<std::byte>(),
                static_cast<size_t>(weights.blocks[i].bytes()));
  }
  expect_same_bits(f, runner.layer_op<float>(Op::kLayer, written, x, {0, 9}), copied, "weights written by the host");
  return f;
}

}  // namespace tessera::conformance
