// Checks what plans predict over a data set, how results are kept, and what a damaged or foreign file does.
#include "shards/plan_evaluator.h"

#include <atomic>
#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shards/evaluation_cache.h"
#include "shards/profiler_forward.h"
#include "tests/shards/reference_backend.h"
#include "tests/support/tiny_model.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using tessera::testing::make_tiny_store;
using tessera::testing::ReferenceBackend;
using tessera::testing::slurp;
using tessera::testing::spill;
using tessera::testing::TemporaryFolder;
using tessera::testing::TinyStore;
using ::testing::HasSubstr;

constexpr int kRows = 30;

class PlanAccuracy : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text = "sentence\tlabel\n";
    for (int row = 0; row < kRows; ++row) {
      for (int word = 0; word < 3 + row % 5; ++word) text += "w" + std::to_string(5 + (row * 7 + word * 11) % 40) + " ";
      text += "\t" + std::to_string(row % 3 == 0) + "\n";
    }
    spill(data(), text);
    options_.cache = cache_.path();
    tokenizer_ = Tokenizer::from_compiled(tiny_.store->tokenizer_path()).take();
  }
  std::string data() const { return tiny_.folder / "data.tsv"; }
  std::unique_ptr<PlanEvaluator> open() {
    auto made = PlanEvaluator::create(*tiny_.store, *tokenizer_, data(), backend_, 0, options_);
    if (!made.ok()) ADD_FAILURE() << made.error().message;
    return made.take();
  }
  // All slices of the first `depth` layers at one bitwidth.
  EffectivePlan uniform(int depth, Bits bits) const {
    return {depth, std::vector<Bits>(static_cast<size_t>(depth * tiny_.store->shape().slices), bits)};
  }
  Evaluation measure(PlanEvaluator& evaluator, const EffectivePlan& plan, std::vector<int32_t> sentences = {}) {
    const std::vector<EvaluationWanted> wanted = {{plan, std::move(sentences)}};
    const auto got = evaluator.evaluate(wanted);
    if (!got.ok()) ADD_FAILURE() << got.error().message;
    return *got->front();
  }
  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(cache_.path()))
      if (entry.is_regular_file()) out.push_back(entry.path().string());
    return out;
  }
  // Labels straight from the logits, one sentence at a time.
  std::vector<int16_t> labels_alone(const EffectivePlan& plan) {
    const auto weights = LoadedWeights::load(*tiny_.store, backend_, 0, nullptr).take();
    const Dataset set = read_tsv(data(), {}).take();
    std::vector<int16_t> out;
    for (const Example& example : set.examples) {
      const std::vector<Encoding> one = {tokenizer_->encode(example.a, 32)};
      const auto runner = ProbeRunner::create(*tiny_.store, weights, backend_, 0, one).take();
      const auto logits = runner->run(plan.depth, plan.bits, [](int64_t) { return Status{}; }).take();
      out.push_back(logits[1] > logits[0] ? 1 : 0);
    }
    return out;
  }

  TinyStore tiny_ = make_tiny_store({}, {2, 4, kExact});
  TemporaryFolder cache_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ReferenceBackend backend_;
  EvaluatorOptions options_;
};

TEST_F(PlanAccuracy, PredictsWhatEachSentenceAloneGives) {
  const auto evaluator = open();
  EffectivePlan mixed = uniform(2, 2);
  mixed.bits = {4, kAbsent, kAbsent, kAbsent, 2, kExact, kAbsent, kAbsent};
  const std::vector<EvaluationWanted> wanted = {{uniform(2, kExact), {}}, {mixed, {}}, {uniform(1, 2), {}}};
  const auto got = evaluator->evaluate(wanted);
  ASSERT_TRUE(got.ok()) << got.error().message;
  for (size_t p = 0; p < wanted.size(); ++p) EXPECT_EQ((*got)[p]->labels, labels_alone(wanted[p].plan)) << "plan " << p;
  for (const float margin : (*got)[0]->margins) EXPECT_GT(margin, 0);
  EXPECT_EQ(evaluator->counts().measured, 3 * kRows);
}

TEST_F(PlanAccuracy, AFewSentencesAreAnsweredAsAllOfThem) {
  const EffectivePlan plan = uniform(2, 4);
  const Evaluation all = measure(*open(), plan);
  fs::remove_all(cache_.path());
  const auto evaluator = open();
  const Evaluation few = measure(*evaluator, plan, {3, 17, 3});
  EXPECT_EQ(evaluator->counts().measured, 2);
  for (size_t s = 0; s < kRows; ++s) EXPECT_EQ(few.labels[s], s == 3 || s == 17 ? all.labels[s] : -1) << "sentence " << s;
  EXPECT_EQ(few.margins[17], all.margins[17]);
  // The rest joins what is known.
  EXPECT_EQ(measure(*evaluator, plan).labels, all.labels);
  EXPECT_EQ(evaluator->counts().measured, kRows);
}

TEST_F(PlanAccuracy, PlansThatShareFirstLayersComputeThemOnce) {
  const auto evaluator = open();
  std::vector<EvaluationWanted> wanted;
  for (const Bits last : {2, 4}) {
    EffectivePlan plan = uniform(2, kExact);
    std::fill(plan.bits.begin() + 4, plan.bits.end(), static_cast<Bits>(last));
    wanted.push_back({plan, {}});
    wanted.push_back({uniform(1, last), {}});
  }
  wanted.push_back({uniform(1, kExact), {}});
  ASSERT_TRUE(evaluator->evaluate(wanted).ok());
  // One chunk: first layers at 2, 4 and exact, and two second layers behind the exact one.
  EXPECT_EQ(backend_.layers_run, 5);
}

TEST_F(PlanAccuracy, IsMeasuredOnceByAllProcesses) {
  const Evaluation first = measure(*open(), uniform(2, 4));
  const auto later = open();
  backend_.layers_run = 0;
  const Evaluation second = measure(*later, uniform(2, 4));
  EXPECT_EQ(second.labels, first.labels);
  EXPECT_EQ(second.margins, first.margins);
  EXPECT_EQ(backend_.layers_run, 0);
  EXPECT_EQ(later->counts().from_disk, kRows);
  (void)measure(*later, uniform(2, 4));
  EXPECT_EQ(later->counts().from_memory, kRows);
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(PlanAccuracy, IsMeasuredAnewForOtherSentencesLimitsOrPrograms) {
  const std::string key = open()->key(uniform(2, 4));
  options_.limit = kRows - 1;
  EXPECT_NE(open()->key(uniform(2, 4)), key);
  options_.limit = INT64_MAX;
  options_.max_tokens = 5;
  EXPECT_NE(open()->key(uniform(2, 4)), key);
  options_.max_tokens = 512;
  options_.version = "2";
  EXPECT_NE(open()->key(uniform(2, 4)), key);
  options_.version = EvaluatorOptions().version;
  EXPECT_EQ(open()->key(uniform(2, 4)), key);
  EXPECT_NE(open()->key(uniform(2, 2)), key);
  EXPECT_NE(open()->key(uniform(1, 4)), key);
}

TEST_F(PlanAccuracy, ADamagedFileIsMeasuredAnewAndMended) {
  const EffectivePlan plan = uniform(2, 4);
  const Evaluation right = measure(*open(), plan);
  ASSERT_EQ(files().size(), 1u);
  const std::string file = files()[0], whole = slurp(file);
  const size_t label = whole.find("\"labels\":[") + 10;
  std::string flipped = whole;
  flipped[label] = whole[label] == '0' ? '1' : '0';
  const auto with_label = [&](const std::string& text) { return whole.substr(0, label) + text + whole.substr(label + 1); };
  for (const std::string& damaged :
       {std::string(), whole.substr(0, whole.size() / 2), flipped, std::string(100'000, '['), std::string("{\"key\":1}"),
        std::string("\0\xff", 2), with_label("1e300"), with_label("99999"), with_label("null"), with_label("-2")}) {
    spill(file, damaged);
    const auto evaluator = open();
    EXPECT_EQ(measure(*evaluator, plan).labels, right.labels);
    EXPECT_EQ(evaluator->counts().measured, kRows);
    EXPECT_EQ(slurp(file), whole);
  }
}

TEST_F(PlanAccuracy, AFileOfAnotherKeyUnderTheSameNameIsNotBelieved) {
  EvaluationCache cache(cache_.path(), 2);
  cache.save("one", {{1, 0}, {1.5f, 2.5f}});
  EXPECT_EQ(cache.load("one").labels, (std::vector<int16_t>{1, 0}));
  fs::create_directories(fs::path(cache.path("two")).parent_path());
  fs::rename(cache.path("one"), cache.path("two"));
  EXPECT_EQ(cache.load("two").labels, (std::vector<int16_t>{-1, -1}));
  EXPECT_EQ(EvaluationCache(cache_.path(), 3).load("two").labels.size(), 3u);
}

TEST_F(PlanAccuracy, WhatAnotherProcessMeasuredMeanwhileStays) {
  EvaluationCache here(cache_.path(), 3), there(cache_.path(), 3);
  here.save("key", {{1, -1, -1}, {1, 0, 0}});
  there.save("key", {{-1, 0, -1}, {0, 2, 0}});
  EXPECT_EQ(here.load("key").labels, (std::vector<int16_t>{1, 0, -1}));
  EXPECT_EQ(here.load("key").margins, (std::vector<float>{1, 2, 0}));
}

TEST_F(PlanAccuracy, ManyWritersLeaveWholeFilesOnly) {
  const Evaluation all{std::vector<int16_t>(500, 1), std::vector<float>(500, 0.25f)};
  std::atomic<int> bad{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      EvaluationCache cache(cache_.path(), 500);
      for (int i = 0; i < 20; ++i) {
        cache.save("key", all);
        bad += cache.load("key").labels != all.labels;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bad.load(), 0);
  EXPECT_EQ(files().size(), 1u) << "a temporary file was left behind";
}

TEST_F(PlanAccuracy, WhatKilledWritersLeftIsRemovedADayLater) {
  EvaluationCache(cache_.path(), 1).save("key", {{1}, {1}});
  const std::string kept = EvaluationCache(cache_.path(), 1).path("key");
  const std::string old = kept + ".17-4000000000-3", fresh = kept + ".18-4-1";
  const std::string other = fs::path(kept).parent_path() / "notes.json.17-4-3";
  const auto days_ago = fs::file_time_type::clock::now() - std::chrono::hours(49);
  for (const std::string& file : {old, fresh, other}) spill(file, "{");
  for (const std::string& file : {kept, old, other}) fs::last_write_time(file, days_ago);
  EvaluationCache(cache_.path(), 1).save("key", {{1}, {1}});
  EXPECT_FALSE(fs::exists(old));
  for (const std::string& file : {kept, fresh, other}) EXPECT_TRUE(fs::exists(file)) << file;
}

TEST_F(PlanAccuracy, ManyPlansAreKeptOnDiskOnly) {
  options_.most_known = 1;
  const auto evaluator = open();
  const Evaluation first = measure(*evaluator, uniform(1, 2));
  (void)measure(*evaluator, uniform(1, 4));
  EXPECT_EQ(measure(*evaluator, uniform(1, 2)).labels, first.labels);
  EXPECT_EQ(evaluator->counts().from_disk, kRows);
  EXPECT_EQ(evaluator->counts().measured, 2 * kRows);
}

TEST_F(PlanAccuracy, AFolderThatCannotBeWrittenCostsOnlyTheKeeping) {
  spill(cache_ / "file", "");
  options_.cache = cache_ / "file";
  EXPECT_EQ(measure(*open(), uniform(2, 4)).labels, labels_alone(uniform(2, 4)));
  options_.cache = "";
  EXPECT_EQ(measure(*open(), uniform(2, 4)).labels, labels_alone(uniform(2, 4)));
}

TEST_F(PlanAccuracy, PlansThatTheStoreDoesNotHaveAreNamed) {
  const auto evaluator = open();
  const auto message = [&](const EffectivePlan& plan, std::vector<int32_t> sentences = {}) {
    const std::vector<EvaluationWanted> wanted = {{plan, std::move(sentences)}};
    const auto got = evaluator->evaluate(wanted);
    EXPECT_FALSE(got.ok());
    EXPECT_EQ(got.ok() ? ErrorCode::kData : got.error().code, ErrorCode::kInvalid);
    return got.ok() ? "" : got.error().message;
  };
  EXPECT_THAT(message(uniform(3, 4)), HasSubstr("depth 3 is not legal"));
  EXPECT_THAT(message(uniform(2, 5)), HasSubstr("5 bits, which the store does not hold"));
  EXPECT_THAT(message({2, {4, 4}}), HasSubstr("2 bits for 2 layers of 4 slices"));
  EXPECT_THAT(message({1, {0, 0, 0, 0}}), HasSubstr("layer 0 has no slice"));
  EXPECT_THAT(message(uniform(2, 4), {kRows}), HasSubstr("sentence 30 of 30"));
  EXPECT_THAT(message(uniform(2, 4), {-1}), HasSubstr("sentence -1"));
}

TEST_F(PlanAccuracy, EndsWhereItIsCancelledAndKeepsWhatItHas) {
  std::atomic<bool> cancel{false};
  options_.cancel = &cancel;
  options_.progress = [&](int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    if (total == 2) cancel = true;  // after the first of two
  };
  const auto evaluator = open();
  const std::vector<EvaluationWanted> wanted = {{uniform(2, 2), {}}, {uniform(2, 4), {}}};
  const auto got = evaluator->evaluate(wanted);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kCancelled);
  cancel = false;
  const auto again = evaluator->evaluate(wanted);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ((*again)[1]->labels, labels_alone(uniform(2, 4)));
  EXPECT_EQ(evaluator->counts().measured, 2 * kRows);
}

TEST_F(PlanAccuracy, ADataSetWithoutRowsOrFileIsAnError) {
  spill(data(), "sentence\tlabel\n");
  EXPECT_FALSE(PlanEvaluator::create(*tiny_.store, *tokenizer_, data(), backend_, 0, options_).ok());
  const auto missing = PlanEvaluator::create(*tiny_.store, *tokenizer_, "/nonexistent.tsv", backend_, 0, options_);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr("/nonexistent.tsv"));
  EXPECT_FALSE(PlanEvaluator::create(*tiny_.store, *tokenizer_, data(), backend_, 1, options_).ok());
}

}  // namespace
}  // namespace tessera
