// Checks what a store holds, how it is laid out, and that it is made whole or not at all.
#include "shards/store.h"

#include <csignal>
#include <cstring>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "shards/codec_elements.h"
#include "shards/flat_codec.h"
#include "shards/hash.h"
#include "shards/import_bert.h"
#include "shards/store_index.h"
#include "shards/store_io.h"
#include "tests/support/tiny_model.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::tessera::testing::make_tiny_store;
using ::tessera::testing::slurp;
using ::tessera::testing::spill;
using ::tessera::testing::TemporaryFolder;
using ::tessera::testing::TinyModel;
using ::tessera::testing::TinyStore;
using ::tessera::testing::write_checkpoint;
using ::testing::HasSubstr;

std::vector<std::byte> bytes_of(const Store& store, const Extent& extent) {
  std::vector<std::byte> bytes(static_cast<size_t>(extent.length));
  const Status read = store.read(extent, bytes.data());
  EXPECT_TRUE(read.ok()) << read.error().message;
  return bytes;
}

std::map<std::string, std::string> contents(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), directory).string()] = slurp(entry.path().string());
  }
  return files;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Rows and dimensions around what packs into a block: 4096 bytes hold 64 rows of 32 fp16, 1 of 2048, none of 2112.
TinyModel of_hidden(int hidden) {
  TinyModel model;
  model.hidden = hidden;
  model.layers = 1;
  model.depths = {1};
  model.vocab = 67;
  model.positions = 5;
  return model;
}

class StoreShapes : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(RowsAroundABlock, StoreShapes, ::testing::Values(32, 36, 1024, 2048, 2112));

TEST_P(StoreShapes, HoldsEveryRowInsideABlock) {
  const TinyStore tiny = make_tiny_store(of_hidden(GetParam()), {2});
  const Store& store = *tiny.store;
  const auto checkpoint = BertCheckpoint::open(tiny.checkpoint);
  const auto words = checkpoint->word_rows(0, 67);
  const auto positions = checkpoint->position_rows(0, 5);
  const auto check = [&](const RowLocation& where, const float* want) {
    EXPECT_EQ(where.block.offset % kBlock, 0);
    EXPECT_EQ(where.block.length, store.shape().row_block.n);
    ASSERT_LE(where.offset + GetParam() * 2, where.block.length);
    const auto block = bytes_of(store, where.block);
    std::vector<float> got(static_cast<size_t>(GetParam()));
    decode_elements(store.exact_type(), block.data() + where.offset, GetParam(), got.data());
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want));
  };
  for (int v = 0; v < 67; ++v) check(store.word_row(v), words->data() + static_cast<ptrdiff_t>(v) * GetParam());
  for (int t = 0; t < 5; ++t) check(store.position_row(t), positions->data() + static_cast<ptrdiff_t>(t) * GetParam());
}

TEST(Store, LaysALayersShardsOneBehindAnother) {
  const TinyStore tiny = make_tiny_store();
  for (Bits bits : tiny.store->shape().bitwidths) {
    int64_t end = 0;
    for (int16_t l = 0; l < 2; ++l) {
      for (int16_t j = 0; j < 4; ++j) {
        const Extent extent = tiny.store->shard({l, j}, bits);
        EXPECT_EQ(extent.offset, end);
        EXPECT_EQ(extent.length % kBlock, 0);
        EXPECT_EQ(extent.length, tiny.store->shape().bytes_of({l, j}, bits).n);
        EXPECT_GE(extent.length - extent.payload, bits == kExact ? 0 : 64);
        end += extent.length;
      }
    }
    EXPECT_EQ(static_cast<int64_t>(fs::file_size(tiny.directory + "/" + shard_file(bits))), end);
  }
}

TEST(Store, CodedShardsAreWhatTheEncoderWrites) {
  const TinyStore tiny = make_tiny_store();
  const auto checkpoint = BertCheckpoint::open(tiny.checkpoint);
  for (int16_t l = 0; l < 2; ++l) {
    const auto layer = checkpoint->layer(l);
    for (int16_t j = 0; j < 4; ++j) {
      const DenseShard dense = slice_layer(tiny.store->shape(), *layer, j);
      for (Bits bits : {1, 4, 6}) {
        const auto want = encode_flat(tiny.store->shape(), dense, bits, ElementType::kF16);
        auto got = bytes_of(*tiny.store, tiny.store->shard({l, j}, bits));
        got.resize(want.size());
        EXPECT_EQ(got, want);
      }
    }
  }
}

TEST(Store, HoldsNormsBiasesTokenTypesAndExits) {
  const TinyStore tiny = make_tiny_store();
  const Store& store = *tiny.store;
  const auto checkpoint = BertCheckpoint::open(tiny.checkpoint);
  const auto vectors = checkpoint->residents();
  ASSERT_TRUE(vectors.ok());
  const auto same = [](const float* got, const std::vector<float>& want) {
    return std::equal(want.begin(), want.end(), got);
  };
  EXPECT_TRUE(same(store.token_type(0), (*vectors)[0]));
  EXPECT_EQ(store.token_type(1), store.token_type(0) + 32);
  EXPECT_TRUE(same(store.embedding_norm_weight(), (*vectors)[1]));
  EXPECT_TRUE(same(store.embedding_norm_bias(), (*vectors)[2]));
  for (int l = 0; l < 2; ++l) {
    const LayerResidents& r = store.layer_residents(l);
    const float* all[] = {r.query_bias,          r.key_bias,    r.value_bias,    r.attention_bias,  r.attention_norm_weight,
                          r.attention_norm_bias, r.ffn_up_bias, r.ffn_down_bias, r.ffn_norm_weight, r.ffn_norm_bias};
    for (size_t i = 0; i < 10; ++i) EXPECT_TRUE(same(all[i], (*vectors)[3 + static_cast<size_t>(l) * 10 + i])) << i;
  }
  for (int depth : {1, 2}) {
    const auto want = checkpoint->exit(depth);
    const auto bytes = bytes_of(store, store.exit(depth));
    const ExitRefs refs = store.exit_refs(bytes.data());
    std::vector<float> got(32 * 32);
    decode_elements(refs.type, refs.pooler_weight, 32 * 32, got.data());
    EXPECT_EQ(got, want->pooler_weight);
    got.resize(64);
    decode_elements(refs.type, refs.classifier_weight, 64, got.data());
    EXPECT_EQ(got, want->classifier_weight);
    got.resize(2);
    decode_elements(refs.type, refs.classifier_bias, 2, got.data());
    EXPECT_EQ(got, want->classifier_bias);
  }
}

TEST(Store, TheSameCheckpointGivesTheSameBytesAndHash) {
  const TinyStore a = make_tiny_store(), b = make_tiny_store();
  EXPECT_EQ(contents(a.directory), contents(b.directory));
  EXPECT_EQ(a.store->content_hash(), b.store->content_hash());
}

TEST(Store, BytesAreTheSameOnEveryMachine) {
  const TinyStore tiny = make_tiny_store();
  std::string all;
  for (const char* name : {"shards.1", "shards.2", "shards.3", "shards.4", "shards.5", "shards.6", "shards.exact", "rows",
                           "exits", "resident"}) {
    all += slurp(tiny.directory + "/" + name);
  }
  // Another value means that stores, and with them the profiles made for them, change: raise kStoreVersion, or undo.
  EXPECT_EQ(content_digest(std::as_bytes(std::span(all))), "4a7fc921f355b0c9c36cbc0d858584bd");
}

TEST(Store, TheNameIsNoPartOfTheContentHash) {
  const TinyStore tiny = make_tiny_store();
  ShardOptions options;
  options.bitwidths = {1, 2, 3, 4, 5, 6, kExact};
  options.name = "another";
  ASSERT_TRUE(make_store(tiny.checkpoint, tiny.folder / "other", options).ok());
  const auto other = Store::open(tiny.folder / "other");
  EXPECT_EQ((*other)->shape().name, "another");
  EXPECT_EQ((*other)->content_hash(), tiny.store->content_hash());
  TinyModel seeded;
  seeded.seed = 2;
  EXPECT_NE(make_tiny_store(seeded).store->content_hash(), tiny.store->content_hash());
}

TEST(Store, SizesSumToTheFiles) {
  const TinyStore tiny = make_tiny_store();
  const StoreSizes& sizes = tiny.store->sizes();
  const auto size = [&](const std::string& file) {
    return static_cast<int64_t>(fs::file_size(tiny.directory + "/" + file));
  };
  for (const StoreSizes::PerBits& s : sizes.shards) {
    EXPECT_EQ(s.indices + s.dictionaries + s.outliers + s.padding, size(shard_file(s.bits))) << int{s.bits};
  }
  EXPECT_EQ(sizes.rows, size("rows"));
  EXPECT_EQ(sizes.exits, size("exits"));
  EXPECT_EQ(sizes.resident, size("resident"));
  EXPECT_EQ(sizes.index, size("index"));
  EXPECT_EQ(sizes.tokenizer, size("tokenizer"));
}

TEST(Store, ColdReadsGiveTheSameBytes) {
  const TinyStore tiny = make_tiny_store();
  const auto cold = Store::open(tiny.directory, {.cold = true});
  ASSERT_TRUE(cold.ok()) << cold.error().message;
  for (Bits bits : {Bits{2}, kExact}) {
    const Extent extent = (*cold)->shard({1, 2}, bits);
    EXPECT_EQ(bytes_of(**cold, extent), bytes_of(*tiny.store, tiny.store->shard({1, 2}, bits)));
    const BlockBuffer block = allocate_blocks(extent.length + 1);
    EXPECT_TRUE((*cold)->read(extent, block.get() + 1).ok());  // memory that O_DIRECT would refuse
  }
}

class Making : public ::testing::Test {
 protected:
  void SetUp() override { write_checkpoint(hf_); }
  Result<StoreSizes> make(const ShardOptions& options = {}) { return make_store(hf_, store_, options); }
  TemporaryFolder folder_;
  std::string hf_ = folder_ / "hf", store_ = folder_ / "store";
};

TEST_F(Making, RefusesBitwidthsThatAreNoSet) {
  for (const std::vector<Bits>& bits : std::vector<std::vector<Bits>>{{}, {0}, {9}, {2, 2}, {3, 2}, {32, 2}, {31}}) {
    ShardOptions options;
    options.bitwidths = bits;
    const auto made = make(options);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, ErrorCode::kInvalid);
  }
  EXPECT_EQ(names_in(folder_.path()), std::vector<std::string>{"hf"});
}

TEST_F(Making, ReplacesAStoreOnlyWhenTold) {
  ASSERT_TRUE(make().ok());
  fs::create_directory(store_ + "/profiles");
  spill(store_ + "/profiles/sst2.json", "{}");
  const auto before = contents(store_);
  const auto again = make();
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(again.error().message, HasSubstr("--force"));
  EXPECT_EQ(contents(store_), before);
  ShardOptions force;
  force.force = true;
  force.bitwidths = {3};
  const auto replaced = make(force);
  ASSERT_TRUE(replaced.ok()) << replaced.error().message;
  EXPECT_FALSE(fs::exists(store_ + "/profiles"));
  EXPECT_EQ((*Store::open(store_))->shape().bitwidths, std::vector<Bits>{3});
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"hf", "store"}));
}

TEST_F(Making, LeavesWhatIsNoStoreAlone) {
  fs::create_directory(store_);
  spill(store_ + "/thesis.txt", "two years of work");
  ShardOptions force;
  force.force = true;
  EXPECT_EQ(make(force).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(slurp(store_ + "/thesis.txt"), "two years of work");
  fs::remove_all(store_);
  spill(store_, "a file");
  EXPECT_EQ(make(force).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(slurp(store_), "a file");
  fs::remove(store_);
  ASSERT_TRUE(make().ok());
  spill(store_ + "/thesis.txt", "in a store");
  EXPECT_THAT(make(force).error().message, HasSubstr("thesis.txt"));
  EXPECT_EQ(slurp(store_ + "/thesis.txt"), "in a store");
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"hf", "store"}));
}

TEST_F(Making, TakesAnEmptyFolderATrailingSlashAndALink) {
  fs::create_directory(store_);
  EXPECT_TRUE(make_store(hf_, store_ + "/", {}).ok());
  fs::create_directory_symlink(store_, folder_ / "link");
  ShardOptions force;
  force.force = true;
  EXPECT_TRUE(make_store(hf_, folder_ / "link", force).ok());
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_TRUE(Store::open(store_).ok());
}

TEST_F(Making, NamesAMissingParent) {
  const auto made = make_store(hf_, folder_ / "no/such/store", {});
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, HasSubstr("no such folder"));
  spill(folder_ / "file", "");
  EXPECT_THAT(make_store(hf_, folder_ / "file/store", {}).error().message, HasSubstr("file is not a folder"));
}

TEST_F(Making, RemovesWhatAKilledProcessLeft) {
  fs::create_directory(folder_ / ".store.partial-1-0");
  spill(folder_ / ".store.partial-1-0/shards.2", "half of it");
  fs::create_directory(folder_ / ".store.partial-2-0");
  spill(folder_ / ".store.partial-2-0/thesis.txt", "no part of a store");
  fs::create_directory(folder_ / ".store.partial-3-0.old");  // a store that was being replaced
  fs::create_directory(folder_ / ".other.partial-4-0");      // of another store
  ASSERT_TRUE(make().ok());
  EXPECT_EQ(names_in(folder_.path()),
            (std::vector<std::string>{".other.partial-4-0", ".store.partial-2-0", ".store.partial-3-0.old", "hf", "store"}));
}

std::string meanwhile_made_from, meanwhile_made_at;
TEST_F(Making, LeavesWhatAnotherProcessIsWriting) {
  meanwhile_made_from = hf_;
  meanwhile_made_at = store_;
  ShardOptions options;
  options.progress = [](int, int) {
    if (fs::exists(meanwhile_made_at)) return;
    EXPECT_TRUE(make_store(meanwhile_made_from, meanwhile_made_at, {}).ok());
  };
  EXPECT_FALSE(make(options).ok());  // the other was first; its store stays
  EXPECT_TRUE(Store::open(store_).ok());
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"hf", "store"}));
}

std::atomic<bool>* cancel_at_progress = nullptr;
TEST_F(Making, LeavesNothingBehindWhenInterrupted) {
  ASSERT_TRUE(make().ok());
  const auto before = contents(store_);
  std::atomic<bool> cancel = false;
  cancel_at_progress = &cancel;
  ShardOptions options;
  options.force = true;
  options.cancel = &cancel;
  options.progress = [](int done, int) {
    if (done >= 4) *cancel_at_progress = true;
  };
  const auto made = make(options);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(contents(store_), before);
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"hf", "store"}));
}

// A limit on the size of files stands for a full disk: both end a write with an error half-way.
TEST_F(Making, LeavesNothingBehindOnAFullDisk) {
  ASSERT_TRUE(make().ok());
  const auto before = contents(store_);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit old = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  for (rlim_t limit : {rlim_t{0}, rlim_t{5000}, rlim_t{20000}, rlim_t{40000}}) {
    const struct rlimit tight = {limit, old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    ShardOptions force;
    force.force = true;
    const auto made = make(force);
    setrlimit(RLIMIT_FSIZE, &old);
    ASSERT_FALSE(made.ok()) << limit;
    EXPECT_EQ(made.error().code, ErrorCode::kData);
    EXPECT_THAT(made.error().message, HasSubstr("cannot write"));
    EXPECT_THAT(made.error().message, HasSubstr("free there"));
    EXPECT_EQ(contents(store_), before);
    EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"hf", "store"}));
  }
}

TEST_F(Making, RefusesAVocabularyLargerThanTheTable) {
  spill(hf_ + "/vocab.txt", slurp(hf_ + "/vocab.txt") + "one\ntoo\n");
  EXPECT_THAT(make().error().message, HasSubstr("52 words"));
}

TEST(EmbeddedModel, CodesAsWellAsItsEvaluationSays) {
  const std::string hf = std::string(TESSERA_SOURCE_DIR) + "/models/minilm6-sst2";
  TemporaryFolder folder;
  ShardOptions options;
  options.bitwidths = {2, 3, 4, kExact};
  const auto sizes = make_store(hf, folder / "store", options);
  ASSERT_TRUE(sizes.ok()) << sizes.error().message;
  const auto store = Store::open(folder / "store");
  const auto checkpoint = BertCheckpoint::open(hf);
  const ModelShape& shape = (*store)->shape();
  // eval.json, "quantisation", codebook matrix, stop l1.
  const std::map<Bits, double> published = {{2, 0.129216}, {3, 0.037722}, {4, 0.009913}, {kExact, 0}};
  for (const auto& [bits, relative] : published) {
    double error = 0, all = 0;
    for (int16_t l = 0; l < shape.layers; ++l) {
      const auto layer = checkpoint->layer(l);
      for (int16_t j = 0; j < shape.slices; ++j) {
        const DenseShard want = slice_layer(shape, *layer, j);
        const Extent extent = (*store)->shard({l, j}, bits);
        const auto got = decode_shard(shape, bits, (*store)->exact_type(), bytes_of(**store, extent).data(), extent.payload);
        ASSERT_TRUE(got.ok());
        for (size_t i = 0; i < want.size(); ++i) {
          for (size_t w = 0; w < want[i].size(); ++w) {
            error += std::pow(static_cast<double>(want[i][w]) - (*got)[i][w], 2);
            all += std::pow(static_cast<double>(want[i][w]), 2);
          }
        }
      }
    }
    EXPECT_NEAR(error / all, relative, 2e-6) << int{bits} << " bits";
  }
  for (const auto& s : sizes->shards) {
    if (s.bits != kExact) { EXPECT_NEAR(static_cast<double>(s.outlier_count) / (6 * 12 * 147456), 0.002814, 1e-6); }
  }
}

}  // namespace
}  // namespace tessera
