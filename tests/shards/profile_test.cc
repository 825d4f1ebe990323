// Checks what a profile measures, fits and keeps, on small random stores and the reference operators.
#include <atomic>
#include <chrono>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shards/accuracy_profile.h"
#include "shards/profiler.h"
#include "shards/profiler_fit.h"
#include "shards/profiler_forward.h"
#include "shards/profiler_probes.h"
#include "tests/shards/reference_backend.h"
#include "tests/support/tiny_model.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using tessera::testing::make_tiny_store;
using tessera::testing::ReferenceBackend;
using tessera::testing::slurp;
using tessera::testing::spill;
using tessera::testing::TinyModel;
using tessera::testing::TinyStore;
using ::testing::HasSubstr;

TEST(ProfileFit, PoolsWhatRises) {
  EXPECT_EQ(non_increasing({3, 1, 2, 0}), (std::vector<double>{3, 1.5, 1.5, 0}));
  EXPECT_EQ(non_increasing({1, 2, 3}), (std::vector<double>{2, 2, 2}));
  EXPECT_EQ(non_increasing({}), std::vector<double>{});
}

TEST(ProfileFit, MapsLossToFallingAccuracy) {
  const auto map = fit_map({{0.3, 0.7}, {0.0, 0.9}, {0.1, 0.8}, {0.2, 0.9}, {0.3, 0.6}});
  ASSERT_EQ(map.size(), 3u);
  EXPECT_EQ(map[0].accuracy.n, 900'000);
  EXPECT_EQ(map[1].loss.n, 150'000);
  EXPECT_EQ(map[1].accuracy.n, 850'000);
  EXPECT_EQ(map[2].accuracy.n, 650'000);
}

TEST(ProfileFit, CorrelatesRanksWithTies) {
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3}, {10, 20, 1000}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3}, {3, 2, 1}), -1);
  EXPECT_DOUBLE_EQ(rank_correlation({1, 1, 1}, {3, 2, 1}), 0);
  EXPECT_NEAR(rank_correlation({1, 2, 2, 3}, {1, 2, 3, 4}), 0.9487, 1e-4);
}

ModelShape embedded_shape() {
  ModelShape shape;
  shape.layers = 6;
  shape.slices = 12;
  shape.depths = {1, 2, 3, 4, 5, 6};
  shape.widths = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  shape.bitwidths = {2, 4, kExact};
  return shape;
}

TEST(ProfileProbes, AreLegalAndDifferent) {
  const ModelShape shape = embedded_shape();
  const ProbeList list = list_probes(shape, {50, 30, 7});
  EXPECT_EQ(list.fit.size(), 50u);
  EXPECT_EQ(list.check.size(), 30u);
  std::set<std::tuple<Part, int, std::vector<Bits>>> seen;
  for (const Probe& probe : list.probes) {
    EXPECT_TRUE(seen.insert({probe.part, probe.depth, probe.bits}).second);
    ASSERT_EQ(probe.bits.size(), static_cast<size_t>(probe.depth * shape.slices));
    for (int l = 0; l < probe.depth; ++l) {
      const auto row = probe.bits.begin() + l * shape.slices;
      const auto present = std::find(row, row + shape.slices, kAbsent) - row;
      EXPECT_EQ(std::count(row, row + shape.slices, kAbsent), shape.slices - present) << "not a prefix";
      EXPECT_TRUE(shape.legal_width(static_cast<int>(present)));
    }
  }
}

TEST(ProfileProbes, KeepOddRowsForTheCheck) {
  const ProbeList list = list_probes(embedded_shape(), {50, 30, 7});
  std::set<size_t> odd;
  for (const PlanProbes& plan : list.check) odd.insert(plan.accuracy);
  for (const UniformProbes& u : list.uniform)
    if (u.on_odd) odd.insert(u.odd);
  for (size_t i = 0; i < list.probes.size(); ++i)
    EXPECT_EQ(list.probes[i].part == Part::kOddRows, odd.contains(i)) << "probe " << i;
}

// A tiny store, data of its words and a backend.
class Profile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text = "sentence\tlabel\n";
    for (int row = 0; row < 40; ++row) {
      for (int word = 0; word < 3 + row % 7; ++word) text += "w" + std::to_string(5 + (row * 7 + word * 11) % 40) + " ";
      text += "\t" + std::to_string(row % 3 == 0) + "\n";
    }
    spill(tiny_.folder / "data.tsv", text);
    options_.task = "tiny";
    options_.data_path = tiny_.folder / "data.tsv";
    options_.divergence_sentences = 6;
    options_.fit_plans = options_.check_plans = 12;
    options_.version = "test";
    tokenizer_ = Tokenizer::from_compiled(tiny_.store->tokenizer_path()).take();
  }
  Result<StoredProfile> profile() { return profile_store(*tiny_.store, *tokenizer_, backend_, 0, options_); }
  std::string partial() const { return profile_path(*tiny_.store, "tiny.partial.json"); }

  TinyStore tiny_ = make_tiny_store({}, {1, 2, 4, kExact});
  std::unique_ptr<Tokenizer> tokenizer_;
  ReferenceBackend backend_;
  ProfileOptions options_;
};

TEST_F(Profile, FillsTheWholeModel) {
  int reports = 0;
  options_.progress = [&](const ProfileProgress& p) {
    ++reports;
    EXPECT_LE(p.done, p.total);
  };
  const auto got = profile();
  ASSERT_TRUE(got.ok()) << got.error().message;
  const AccuracyModel& m = got->model;
  EXPECT_GE(reports, 2);
  EXPECT_TRUE(m.profiled());
  EXPECT_EQ(m.base.size(), 2u);
  EXPECT_EQ(m.base[1].n, 0);
  EXPECT_GT(m.base[0].n, 0);
  for (int16_t l = 0; l < 2; ++l) {
    for (int16_t j = 0; j < 4; ++j) {
      EXPECT_EQ(m.loss_delta({l, j}, kExact).n, 0);
      EXPECT_GE(m.loss_delta({l, j}, 1), m.loss_delta({l, j}, 2));
      EXPECT_GE(m.loss_delta({l, j}, 2), m.loss_delta({l, j}, 4));
      EXPECT_GT(m.loss_delta({l, j}, 1).n, 0);
    }
  }
  EXPECT_EQ(got->checked.size(), 12u);
  EXPECT_GT(got->loss_rank_correlation, 0.5);
  EXPECT_FALSE(fs::exists(partial()));
}

TEST_F(Profile, ComesBackFromItsFile) {
  const auto saved = profile();
  ASSERT_TRUE(saved.ok()) << saved.error().message;
  bool found = false;
  for (const char* task : {"", "tiny"}) {
    const auto loaded = load_profile(*tiny_.store, task, &found);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    EXPECT_TRUE(found);
    EXPECT_EQ(loaded->model.sensitivity, saved->model.sensitivity);
    EXPECT_EQ(loaded->model.scale_ppm, saved->model.scale_ppm);
    EXPECT_EQ(loaded->model.map.size(), saved->model.map.size());
    EXPECT_EQ(loaded->version, "test");
    EXPECT_EQ(loaded->rank_correlation, saved->rank_correlation);
    EXPECT_EQ(loaded->uniform.size(), saved->uniform.size());
  }
  EXPECT_TRUE(load_profile(*tiny_.store, "other", &found).ok());
  EXPECT_FALSE(found);
  EXPECT_TRUE(verify_store(tiny_.directory)->damages.empty());
}

TEST_F(Profile, WrittenLastIsTheOneThatIsUsed) {
  ASSERT_TRUE(profile().ok());
  const std::string first = profile_path(*tiny_.store, "tiny.json"), second = profile_path(*tiny_.store, "again.json");
  std::string text = slurp(first);
  text.replace(text.find("\"task\":\"tiny\""), 13, "\"task\":\"more\"");
  spill(second, text);
  bool found = false;
  for (const auto& [age, task] : {std::pair{1, "more"}, std::pair{-1, "tiny"}}) {
    fs::last_write_time(second, fs::last_write_time(first) + std::chrono::hours(age));
    EXPECT_EQ(load_profile(*tiny_.store, "", &found)->task, task);
  }
}

TEST_F(Profile, GoesOnWhereItWasInterrupted) {
  const auto whole = profile();
  ASSERT_TRUE(whole.ok());
  const int64_t all = backend_.layers_run;
  fs::remove_all(tiny_.directory + "/profiles");
  std::atomic<bool> cancel{false};
  options_.cancel = &cancel;
  backend_.layers_run = 0;
  backend_.on_layer = [&](int64_t n) { cancel = n == all / 2; };
  const auto interrupted = profile();
  ASSERT_FALSE(interrupted.ok());
  EXPECT_EQ(interrupted.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(fs::exists(partial()));
  EXPECT_TRUE(verify_store(tiny_.directory)->damages.empty());
  bool found = true;
  EXPECT_TRUE(load_profile(*tiny_.store, "", &found).ok());
  EXPECT_FALSE(found);

  backend_.layers_run = 0;
  backend_.on_layer = [](int64_t) {};
  cancel = false;
  const auto resumed = profile();
  ASSERT_TRUE(resumed.ok()) << resumed.error().message;
  EXPECT_LT(backend_.layers_run, all * 3 / 4);
  EXPECT_EQ(resumed->model.sensitivity, whole->model.sensitivity);
  EXPECT_EQ(resumed->rank_correlation, whole->rank_correlation);
}

TEST_F(Profile, IgnoresAPartialProfileThatIsDamagedOrOfOtherData) {
  for (const std::string& text : {std::string("{"), std::string(R"({"key": "x", "values": [1]})"), std::string("[[[")}) {
    fs::create_directories(tiny_.directory + "/profiles");
    spill(partial(), text);
    EXPECT_TRUE(profile().ok());
  }
}

TEST_F(Profile, SharedLayersDoNotChangeABit) {
  const ProbeList list = list_probes(tiny_.store->shape(), {20, 0, 3});
  std::vector<Encoding> sequences;
  for (const char* text : {"w5 w6 w7", "w9", "w30 w31 w32 w33 w34 w35"}) sequences.push_back(tokenizer_->encode(text, 16));
  const auto weights = LoadedWeights::load(*tiny_.store, backend_, 0, nullptr);
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  const auto make = [&] { return ProbeRunner::create(*tiny_.store, *weights, backend_, 0, sequences).take(); };
  const auto none = [](int64_t) { return Status(); };
  const auto shared = make();
  for (const size_t i : list.order(Part::kEvenRows)) {
    const Probe& probe = list.probes[i];
    EXPECT_EQ(shared->run(probe.depth, probe.bits, none).value(), make()->run(probe.depth, probe.bits, none).value());
  }
}

TEST_F(Profile, OfAnotherStoreIsRefused) {
  ASSERT_TRUE(profile().ok());
  TinyModel other;
  other.seed = 2;
  const TinyStore second = make_tiny_store(other, {1, 2, 4, kExact});
  fs::create_directories(second.directory + "/profiles");
  fs::copy(profile_path(*tiny_.store, "tiny.json"), second.directory + "/profiles/tiny.json");
  bool found = true;
  const auto loaded = load_profile(*second.store, "", &found);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, ErrorCode::kData);
  EXPECT_THAT(loaded.error().message, HasSubstr("measure it again with `tessera profile`"));
  EXPECT_FALSE(found);
}

TEST_F(Profile, SurvivesEveryDamageOfItsFile) {
  ASSERT_TRUE(profile().ok());
  const std::string path = profile_path(*tiny_.store, "tiny.json"), text = slurp(path);
  bool found = false;
  for (size_t cut = 0; cut + 2 < text.size(); cut += 97) {
    spill(path, text.substr(0, cut));
    EXPECT_FALSE(load_profile(*tiny_.store, "tiny", &found).ok()) << cut;
  }
  for (const char* key : {"base", "sensitivity", "scale_ppm", "map", "layers", "format", "report", "checked", "task"}) {
    std::string broken = text;
    broken.replace(broken.find("\"" + std::string(key) + "\""), 2, "\"_");
    spill(path, broken);
    EXPECT_FALSE(load_profile(*tiny_.store, "tiny", &found).ok()) << key;
  }
}

TEST_F(Profile, NamesUnusableDataAndOptions) {
  spill(tiny_.folder / "data.tsv", "sentence\na b\n");
  EXPECT_THAT(profile().error().message, HasSubstr("more than 5 words"));
  spill(tiny_.folder / "data.tsv", "sentence\na b c d e f g\n");
  EXPECT_THAT(profile().error().message, HasSubstr("--dev"));
  options_.task = "../x";
  EXPECT_EQ(profile().error().code, ErrorCode::kInvalid);
  options_.task = "tiny";
  options_.dev_rows = 0;
  EXPECT_EQ(profile().error().code, ErrorCode::kInvalid);
}

TEST(EmbeddedProfile, BelongsToTheStoreThatTheBuildMakes) {
  const std::string directory = std::string(TESSERA_BINARY_DIR) + "/share/tessera/models/minilm6-sst2";
  if (!fs::exists(directory + "/index")) GTEST_SKIP() << "SKIPPED: the embedded store is not built at " << directory;
  const auto store = Store::open(directory);
  ASSERT_TRUE(store.ok()) << store.error().message;
  bool found = false;
  const auto loaded = load_profile(**store, "sst2", &found);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message << "; regenerate it as docs/accuracy.md says";
  EXPECT_TRUE(found);
  EXPECT_GE(loaded->checked.size(), 100u);
  EXPECT_GT(loaded->rank_correlation, 0.85);
  // Full depth and width at 6 bits is within the map's best; one layer at 2 bits is not.
  const ModelShape& shape = (*store)->shape();
  const AccuracyModel& m = loaded->model;
  const Micro good = m.accuracy(m.loss(6, uniform_bits(shape, 6, 12, 6)));
  const Micro poor = m.accuracy(m.loss(1, uniform_bits(shape, 1, 3, 2)));
  EXPECT_GT(good.value(), 0.90);
  EXPECT_LT(poor.value(), 0.84);
}

TEST_F(Profile, NeedsTheExactVersion) {
  const TinyStore coded = make_tiny_store({}, {2, 4});
  const auto got = profile_store(*coded.store, *tokenizer_, backend_, 0, options_);
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.error().message, HasSubstr("no exact shards"));
}

}  // namespace
}  // namespace tessera
