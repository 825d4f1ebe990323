// Runs plans over a data set: whole passes that share first layers, small ones for a few sentences.
#include "shards/plan_evaluator.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>

#include "shards/evaluation_cache.h"
#include "shards/hash.h"
#include "shards/profiler_forward.h"

namespace tessera {
namespace {

using Shared = std::shared_ptr<const Evaluation>;

// A plan that has to be run, and over which sentences.
struct Job {
  const EffectivePlan* plan = nullptr;
  std::vector<int32_t> missing;
};

std::string bits_text(const EffectivePlan& plan) {
  std::string text;
  for (const Bits b : plan.bits) text += b == kExact ? 'x' : static_cast<char>('0' + b);
  return text;
}

class StorePlanEvaluator final : public PlanEvaluator {
 public:
  StorePlanEvaluator(const Store& store, Backend& backend, int device, const EvaluatorOptions& options)
      : store_(store), backend_(backend), device_(device), options_(options) {}

  Status read(const Tokenizer& tokenizer, const std::string& data_path);
  Result<std::vector<Shared>> evaluate(std::span<const EvaluationWanted> wanted) override;
  const std::vector<int>& labels() const override { return labels_; }
  const std::vector<int>& tokens() const override { return tokens_; }
  std::string key(const EffectivePlan& plan) const override { return key_digest(full_key(plan)); }
  Counts counts() const override { return counts_; }
  void release() override {
    whole_.reset();
    weights_.reset();
  }

 private:
  std::string full_key(const EffectivePlan& plan) const {
    return set_ + " depth " + std::to_string(plan.depth) + " bits " + bits_text(plan);
  }
  Status check(const EvaluationWanted& wanted) const;
  std::vector<Job> missing(std::span<const EvaluationWanted> wanted);
  Status measure(std::vector<Job> jobs);
  Status measure(const Job& job);
  Status note(const Job& job, const std::vector<float>& logits, bool whole);
  Status prepare();

  const Store& store_;
  Backend& backend_;
  const int device_;
  const EvaluatorOptions options_;
  std::vector<Encoding> sequences_;
  std::vector<int> labels_, tokens_;
  std::string set_;  // what every key begins with
  std::unique_ptr<EvaluationCache> cache_;
  std::map<EffectivePlan, Shared> known_;
  std::unique_ptr<LoadedWeights> weights_;
  std::unique_ptr<ProbeRunner> whole_;  // over all sentences; after weights_, which it uses
  Counts counts_;
};

Status StorePlanEvaluator::read(const Tokenizer& tokenizer, const std::string& data_path) {
  const ModelShape& shape = store_.shape();
  if (tokenizer.vocabulary_size() > shape.vocab)
    return Error{ErrorCode::kData, data_path + ": the tokenizer has " + std::to_string(tokenizer.vocabulary_size()) +
                                       " tokens, the model's embedding " + std::to_string(shape.vocab) +
                                       " rows; use the tokenizer of the model"};
  TESSERA_ASSIGN(const Dataset data, read_tsv(data_path, shape.label_names));
  const int64_t rows = std::min(static_cast<int64_t>(data.examples.size()), options_.limit);
  if (rows < 1) return Error{ErrorCode::kData, data_path + ": no rows to measure accuracy on"};
  const int most = std::max(3, std::min(options_.max_tokens, shape.max_tokens));
  std::vector<int32_t> all;
  for (int64_t row = 0; row < rows; ++row) {
    const Example& example = data.examples[static_cast<size_t>(row)];
    const Encoding& e = sequences_.emplace_back(data.pairs ? tokenizer.encode_pair(example.a, example.b, most)
                                                           : tokenizer.encode(example.a, most));
    labels_.push_back(example.label);
    tokens_.push_back(e.tokens());
    all.push_back(-1);
    all.insert(all.end(), e.ids.begin(), e.ids.end());
    all.insert(all.end(), e.types.begin(), e.types.end());
  }
  set_ = "store " + store_.content_hash() + " data " + content_digest(std::as_bytes(std::span(all))) + " tokens " +
         std::to_string(most) + " device " + backend_.describe()[static_cast<size_t>(device_)].name + " tessera " +
         options_.version;
  cache_ =
      std::make_unique<EvaluationCache>(options_.cache.empty() ? "" : options_.cache + "/evaluations", sequences_.size());
  return {};
}

Status StorePlanEvaluator::check(const EvaluationWanted& wanted) const {
  const ModelShape& shape = store_.shape();
  const auto invalid = [&](const std::string& what) {
    return Error{ErrorCode::kInvalid, "accuracy of a plan on " + shape.name + ": " + what};
  };
  const EffectivePlan& plan = wanted.plan;
  if (!shape.legal_depth(plan.depth)) return invalid("depth " + std::to_string(plan.depth) + " is not legal");
  const size_t row = static_cast<size_t>(shape.slices);
  if (plan.bits.size() != static_cast<size_t>(plan.depth) * row)
    return invalid(std::to_string(plan.bits.size()) + " bits for " + std::to_string(plan.depth) + " layers of " +
                   std::to_string(row) + " slices");
  for (size_t l = 0; l < static_cast<size_t>(plan.depth); ++l) {
    const auto begin = plan.bits.begin() + static_cast<ptrdiff_t>(l * row), end = begin + static_cast<ptrdiff_t>(row);
    if (std::all_of(begin, end, [](Bits b) { return b == kAbsent; }))
      return invalid("layer " + std::to_string(l) + " has no slice");
    for (auto b = begin; b != end; ++b)
      if (*b != kAbsent && !shape.has_bits(*b)) return invalid(std::to_string(*b) + " bits, which the store does not hold");
  }
  for (const int32_t s : wanted.sentences)
    if (s < 0 || static_cast<size_t>(s) >= sequences_.size())
      return invalid("sentence " + std::to_string(s) + " of " + std::to_string(sequences_.size()));
  return {};
}

// What neither memory nor disk has. Afterwards every wanted plan is in `known_`.
std::vector<Job> StorePlanEvaluator::missing(std::span<const EvaluationWanted> wanted) {
  if (!options_.cache.empty() && known_.size() > options_.most_known) known_.clear();
  std::map<EffectivePlan, std::vector<bool>> needed;
  for (const EvaluationWanted& one : wanted) {
    std::vector<bool>& marks = needed[one.plan];
    marks.resize(sequences_.size(), one.sentences.empty());
    if (one.sentences.empty()) marks.assign(marks.size(), true);
    for (const int32_t s : one.sentences) marks[static_cast<size_t>(s)] = true;
  }
  std::vector<Job> jobs;
  for (const auto& [plan, marks] : needed) {
    const auto [at, fresh] = known_.try_emplace(plan, nullptr);
    if (fresh) at->second = std::make_shared<const Evaluation>(cache_->load(full_key(plan)));
    Job job{&at->first, {}};
    for (size_t s = 0; s < marks.size(); ++s) {
      if (!marks[s]) continue;
      if (at->second->labels[s] < 0)
        job.missing.push_back(static_cast<int32_t>(s));
      else
        ++(fresh ? counts_.from_disk : counts_.from_memory);
    }
    if (!job.missing.empty()) jobs.push_back(std::move(job));
  }
  return jobs;
}

Status StorePlanEvaluator::prepare() {
  if (weights_ != nullptr) return {};
  TESSERA_ASSIGN(LoadedWeights loaded, LoadedWeights::load(store_, backend_, device_, options_.cancel));
  weights_ = std::make_unique<LoadedWeights>(std::move(loaded));
  return {};
}

Status StorePlanEvaluator::note(const Job& job, const std::vector<float>& logits, bool whole) {
  auto found = std::make_shared<Evaluation>(*known_.at(*job.plan));
  const size_t classes = static_cast<size_t>(store_.shape().labels);
  for (size_t i = 0; i < job.missing.size(); ++i) {
    const size_t s = static_cast<size_t>(job.missing[i]);
    const float* row = &logits[(whole ? s : i) * classes];
    for (size_t k = 0; k < classes; ++k)
      if (!std::isfinite(row[k]))
        return Error{ErrorCode::kDevice, "accuracy of a plan: the device gave a logit that is not finite for sentence " +
                                             std::to_string(s) + " at depth " + std::to_string(job.plan->depth)};
    const size_t best = static_cast<size_t>(std::max_element(row, row + classes) - row);
    float next = classes > 1 ? row[best == 0 ? 1 : 0] : row[best];
    for (size_t k = 0; k < classes; ++k)
      if (k != best) next = std::max(next, row[k]);
    found->labels[s] = static_cast<int16_t>(best);
    found->margins[s] = row[best] - next;
  }
  counts_.measured += static_cast<int64_t>(job.missing.size());
  cache_->save(full_key(*job.plan), *found);
  known_.at(*job.plan) = std::move(found);
  return {};
}

Status StorePlanEvaluator::measure(const Job& job) {
  const auto step = [this](int64_t) -> Status {
    if (options_.cancel && options_.cancel->load())
      return Error{ErrorCode::kCancelled, "interrupted while accuracy was measured; what was measured is kept"};
    return {};
  };
  // A whole pass costs half of its sentences less where its first layers are known; a few sentences are cheaper alone.
  const bool whole = job.missing.size() * 2 > sequences_.size();
  if (whole) {
    if (whole_ == nullptr) { TESSERA_ASSIGN(whole_, ProbeRunner::create(store_, *weights_, backend_, device_, sequences_)); }
    TESSERA_ASSIGN(const std::vector<float> logits, whole_->run(job.plan->depth, job.plan->bits, step));
    return note(job, logits, true);
  }
  std::vector<Encoding> few;
  for (const int32_t s : job.missing) few.push_back(sequences_[static_cast<size_t>(s)]);
  TESSERA_ASSIGN(const auto runner, ProbeRunner::create(store_, *weights_, backend_, device_, few));
  TESSERA_ASSIGN(const std::vector<float> logits, runner->run(job.plan->depth, job.plan->bits, step));
  return note(job, logits, false);
}

Status StorePlanEvaluator::measure(std::vector<Job> jobs) {
  if (jobs.empty()) return {};
  TESSERA_TRY(prepare());
  // Ascending by bits: a walk over the tree of first layers, each node computed once.
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.plan->bits < b.plan->bits; });
  int64_t done = 0;
  for (const Job& job : jobs) {
    TESSERA_TRY(measure(job));
    if (options_.progress) options_.progress(++done, static_cast<int64_t>(jobs.size()));
  }
  return {};
}

Result<std::vector<Shared>> StorePlanEvaluator::evaluate(std::span<const EvaluationWanted> wanted) {
  for (const EvaluationWanted& one : wanted) TESSERA_TRY(check(one));
  TESSERA_TRY(measure(missing(wanted)));
  std::vector<Shared> out;
  for (const EvaluationWanted& one : wanted) out.push_back(known_.at(one.plan));
  return out;
}

}  // namespace

EffectivePlan effective_plan(const Plan& plan) {
  const auto end = plan.bits.begin() + std::min<ptrdiff_t>(static_cast<ptrdiff_t>(plan.bits.size()),
                                                           static_cast<ptrdiff_t>(plan.depth) * plan.slices);
  return {plan.depth, {plan.bits.begin(), end}};
}

std::string default_cache_directory() {
  const char* given = std::getenv("XDG_CACHE_HOME");
  if (given != nullptr && *given == '/') return std::string(given) + "/tessera";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home != '\0' ? std::string(home) + "/.cache/tessera" : "";
}

Result<std::unique_ptr<PlanEvaluator>> PlanEvaluator::create(const Store& store, const Tokenizer& tokenizer,
                                                             const std::string& data_path, Backend& backend, int device,
                                                             const EvaluatorOptions& options) {
  const std::vector<DeviceDescription> devices = backend.describe();
  if (device < 0 || static_cast<size_t>(device) >= devices.size())
    return Error{ErrorCode::kInvalid,
                 "device " + std::to_string(device) + " of a backend with " + std::to_string(devices.size()) + " devices"};
  auto evaluator = std::make_unique<StorePlanEvaluator>(store, backend, device, options);
  TESSERA_TRY(evaluator->read(tokenizer, data_path));
  return std::unique_ptr<PlanEvaluator>(std::move(evaluator));
}

}  // namespace tessera
