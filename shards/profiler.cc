// Runs all probes of a profile, part by part, and fits the accuracy model to them.
#include "shards/profiler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "framework/clock.h"
#include "shards/hash.h"
#include "shards/profiler_checkpoint.h"
#include "shards/profiler_data.h"
#include "shards/profiler_fit.h"
#include "shards/profiler_forward.h"
#include "shards/profiler_probes.h"

namespace tessera {
namespace {

constexpr Duration kWriteEvery = milliseconds(5'000);
constexpr Duration kReportEvery = milliseconds(250);
constexpr const char* kPhases[kParts] = {"divergence", "even rows", "odd rows"};

// log softmax of one row of logits.
std::vector<double> log_softmax(const float* logits, size_t labels) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t i = 0; i < labels; ++i) most = std::max(most, static_cast<double>(logits[i]));
  for (size_t i = 0; i < labels; ++i) sum += std::exp(logits[i] - most);
  std::vector<double> out(labels);
  for (size_t i = 0; i < labels; ++i) out[i] = logits[i] - most - std::log(sum);
  return out;
}

// Mean KL(full || got) over rows of logits [n][labels], nats.
double divergence(const std::vector<float>& full, const std::vector<float>& got, size_t labels) {
  double total = 0;
  for (size_t row = 0; row + labels <= full.size(); row += labels) {
    const std::vector<double> p = log_softmax(&full[row], labels), q = log_softmax(&got[row], labels);
    for (size_t i = 0; i < labels; ++i) total += std::exp(p[i]) * (p[i] - q[i]);
  }
  return total * static_cast<double>(labels) / static_cast<double>(full.size());
}

double accuracy(const std::vector<float>& logits, const std::vector<int>& labels, size_t classes) {
  int64_t right = 0;
  for (size_t row = 0; row < labels.size(); ++row) {
    const auto at = logits.begin() + static_cast<ptrdiff_t>(row * classes);
    right += std::max_element(at, at + static_cast<ptrdiff_t>(classes)) - at == labels[row];
  }
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

Status check_options(const Store& store, const ProfileOptions& options) {
  const auto invalid = [](const std::string& what) { return Error{ErrorCode::kInvalid, "profile: " + what}; };
  const std::string& task = options.task;
  const bool named =
      !task.empty() && task.size() <= 100 && task[0] != '.' && std::all_of(task.begin(), task.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.';
      });
  if (!named || task.ends_with(".partial"))
    return invalid("task '" + task.substr(0, 100) + "' cannot be a file name; use letters, digits, '-', '_' and '.'");
  if (options.divergence_sentences < 1 || options.dev_rows < 4 || options.fit_plans < 0 || options.check_plans < 0 ||
      options.max_tokens < 3)
    return invalid("needs at least 1 sentence, 4 labelled rows and 3 tokens, and no negative number of plans");
  if (!store.shape().has_bits(kExact))
    return Error{ErrorCode::kData,
                 store.directory() + ": has no exact shards to compare with; shard it with --store-bits " + "...,32"};
  return {};
}

// One profile being measured.
class Profiling {
 public:
  Profiling(const Store& store, Backend& backend, int device, const ProfileOptions& options, ProfileData data)
      : store_(store),
        backend_(backend),
        device_(device),
        options_(options),
        data_(std::move(data)),
        list_(list_probes(store.shape(), {options.fit_plans, options.check_plans, options.seed})),
        checkpoint_(store, options.task, key()) {}

  Result<StoredProfile> run();

 private:
  std::string key() const;
  Status measure(const LoadedWeights& weights);
  Status measure_part(Part part, const LoadedWeights& weights);
  Status step(int64_t cost);
  void count_work();
  void report(bool now);

  const Store& store_;
  Backend& backend_;
  const int device_;
  const ProfileOptions& options_;
  const ProfileData data_;
  ProbeList list_;
  const ProfileCheckpoint checkpoint_;
  int64_t done_ = 0, resumed_ = 0;         // probes
  int64_t work_ = 0, work_total_ = 0;      // layer x slice x token
  Duration started_, written_, reported_;  // wall clock
  Part part_ = Part::kDivergence;
};

std::string Profiling::key() const {
  const std::string text = store_.content_hash() + " " + data_.digest + " " + std::to_string(options_.fit_plans) + " " +
                           std::to_string(options_.check_plans) + " " + std::to_string(options_.seed);
  return content_digest(std::as_bytes(std::span(text)));
}

// What is to be computed, shared layers once: what `left` is estimated from.
void Profiling::count_work() {
  const size_t row = static_cast<size_t>(store_.shape().slices);
  for (int p = 0; p < kParts; ++p) {
    int64_t tokens = 0;
    for (const Encoding& e : data_.parts[static_cast<size_t>(p)].sequences) tokens += e.tokens();
    std::vector<Bits> before;
    for (const size_t i : list_.order(static_cast<Part>(p))) {
      const std::vector<Bits>& bits = list_.probes[i].bits;
      const size_t same =
          static_cast<size_t>(std::mismatch(before.begin(), before.end(), bits.begin(), bits.end()).first - before.begin());
      const std::vector<Bits> rest(bits.begin() + static_cast<ptrdiff_t>(same / row * row), bits.end());
      work_total_ += present_slices(rest) * tokens;
      before = bits;
    }
  }
}

void Profiling::report(bool now) {
  const Duration time = WallClock::instance().now();
  if (!options_.progress || (!now && time - reported_ < kReportEvery)) return;
  reported_ = time;
  Duration left = kForever;
  if (work_ > 0) {
    const double rest = static_cast<double>(std::max<int64_t>(work_total_ - work_, 0)) / static_cast<double>(work_);
    left = from_seconds((time - started_).seconds() * rest);
  }
  options_.progress({kPhases[static_cast<size_t>(part_)], done_, static_cast<int64_t>(list_.probes.size()), left});
}

Status Profiling::step(int64_t cost) {
  work_ += cost;
  report(false);
  if (options_.cancel && options_.cancel->load())
    return Error{ErrorCode::kCancelled, "interrupted after " + std::to_string(done_) + " of " +
                                            std::to_string(list_.probes.size()) + " measurements; they are kept in " +
                                            profile_path(store_, options_.task + ".partial.json") +
                                            ", run it again to go on"};
  return {};
}

Status Profiling::measure_part(Part part, const LoadedWeights& weights) {
  part_ = part;
  const PartData& data = data_.parts[static_cast<size_t>(part)];
  const std::vector<size_t> order = list_.order(part);
  if (order.empty()) return {};
  TESSERA_ASSIGN(const auto runner, ProbeRunner::create(store_, weights, backend_, device_, data.sequences));
  const auto counted = [this](int64_t cost) { return step(cost); };
  const ModelShape& shape = store_.shape();
  const size_t labels = static_cast<size_t>(shape.labels);
  std::vector<float> full;
  if (part == Part::kDivergence) {
    TESSERA_ASSIGN(full, runner->run(shape.layers, uniform_bits(shape, shape.layers, shape.slices, kExact), counted));
  }
  for (const size_t i : order) {
    Probe& probe = list_.probes[i];
    TESSERA_ASSIGN(const std::vector<float> logits, runner->run(probe.depth, probe.bits, counted));
    probe.value = full.empty() ? accuracy(logits, data.labels, labels) : divergence(full, logits, labels);
    if (!std::isfinite(probe.value))
      return Error{ErrorCode::kDevice,
                   "profile: the device gave logits that are not finite at depth " + std::to_string(probe.depth)};
    probe.done = true;
    ++done_;
    if (const Duration now = WallClock::instance().now(); now - written_ > kWriteEvery) {
      written_ = now;
      TESSERA_TRY(checkpoint_.write(list_));
    }
  }
  return {};
}

Status Profiling::measure(const LoadedWeights& weights) {
  for (const Part part : {Part::kDivergence, Part::kEvenRows, Part::kOddRows}) TESSERA_TRY(measure_part(part, weights));
  return {};
}

Result<StoredProfile> Profiling::run() {
  if (!options_.fresh) done_ = resumed_ = checkpoint_.resume(&list_);
  count_work();
  started_ = written_ = reported_ = WallClock::instance().now();
  report(true);
  Status measured;
  {
    TESSERA_ASSIGN(const LoadedWeights weights, LoadedWeights::load(store_, backend_, device_, options_.cancel));
    measured = measure(weights);
  }
  if (!measured.ok()) {
    if (done_ > resumed_) TESSERA_TRY(checkpoint_.write(list_));
    return measured.error();
  }
  report(true);
  StoredProfile profile = fit_profile(store_.shape(), list_);
  profile.task = options_.task;
  profile.version = options_.version;
  profile.data = data_.description + "; " + std::to_string(options_.fit_plans) + " random plans fitted, " +
                 std::to_string(options_.check_plans) + " checked, seed " + std::to_string(options_.seed);
  TESSERA_TRY(save_profile(store_, profile));
  checkpoint_.remove();
  return profile;
}

}  // namespace

Result<StoredProfile> profile_store(const Store& store, const Tokenizer& tokenizer, Backend& backend, int device,
                                    const ProfileOptions& options) {
  TESSERA_TRY(check_options(store, options));
  if (tokenizer.vocabulary_size() > store.shape().vocab)
    return Error{ErrorCode::kData, "profile: the tokenizer has " + std::to_string(tokenizer.vocabulary_size()) +
                                       " tokens, the store's embedding has " + std::to_string(store.shape().vocab) +
                                       " rows; shard the checkpoint with its own tokenizer"};
  TESSERA_ASSIGN(ProfileData data, choose_data(store.shape(), tokenizer, options));
  return Profiling(store, backend, device, options, std::move(data)).run();
}

}  // namespace tessera
