// Checks what of a Hugging Face folder is imported, and what is refused by name.
#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shards/flat_codec.h"
#include "shards/import_bert.h"
#include "shards/safetensors.h"
#include "shards/store.h"
#include "tests/support/tiny_model.h"

namespace tessera {
namespace {

using nlohmann::json;
using ::tessera::testing::make_tiny_store;
using ::tessera::testing::slurp;
using ::tessera::testing::spill;
using ::tessera::testing::TemporaryFolder;
using ::tessera::testing::TinyModel;
using ::tessera::testing::TinyStore;
using ::tessera::testing::write_checkpoint;
using ::testing::HasSubstr;

class Import : public ::testing::Test {
 protected:
  // Changes config.json of a fresh tiny checkpoint and says why the import refuses it ("" where it does not).
  std::string refusal(const std::function<void(json&)>& change, const TinyModel& model = {}) {
    write_checkpoint(folder_ / "hf", model);
    json config = json::parse(slurp(folder_ / "hf/config.json"));
    change(config);
    spill(folder_ / "hf/config.json", config.dump());
    const auto opened = BertCheckpoint::open(folder_ / "hf");
    if (opened.ok()) return "";
    EXPECT_EQ(opened.error().code, ErrorCode::kData);
    return opened.error().message;
  }
  TemporaryFolder folder_;
};

class ImportTypes : public ::testing::TestWithParam<std::tuple<ElementType, bool, int>> {};
INSTANTIATE_TEST_SUITE_P(EveryTypePrefixAndFileCount, ImportTypes,
                         ::testing::Combine(::testing::Values(ElementType::kF32, ElementType::kF16, ElementType::kBf16),
                                            ::testing::Bool(), ::testing::Values(1, 3)));

TEST_P(ImportTypes, ExactShardsAreTheCheckpointsWeights) {
  TinyModel model;
  std::tie(model.type, model.prefix, model.files) = GetParam();
  const TinyStore tiny = make_tiny_store(model, {kExact});
  EXPECT_EQ(tiny.store->exact_type(), model.type);
  EXPECT_EQ(tiny.store->shape().stored_exact_bits, model.type == ElementType::kF32 ? 32 : 16);
  const auto checkpoint = BertCheckpoint::open(tiny.checkpoint);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const ModelShape& shape = tiny.store->shape();
  for (int16_t l = 0; l < shape.layers; ++l) {
    const auto layer = checkpoint->layer(l);
    ASSERT_TRUE(layer.ok());
    for (int16_t j = 0; j < shape.slices; ++j) {
      const Extent extent = tiny.store->shard({l, j}, kExact);
      std::vector<std::byte> bytes(static_cast<size_t>(extent.length));
      ASSERT_TRUE(tiny.store->read(extent, bytes.data()).ok());
      const auto got = decode_shard(shape, kExact, model.type, bytes.data(), extent.payload);
      ASSERT_TRUE(got.ok());
      EXPECT_EQ(*got, slice_layer(shape, *layer, j));
    }
  }
}

TEST_F(Import, ReadsShapeLabelsAndElasticChoices) {
  TinyModel model;
  model.labels = 3;
  model.layers = 4;
  model.depths = {2, 4};
  model.widths = {2, 4};
  write_checkpoint(folder_ / "hf", model);
  const auto checkpoint = BertCheckpoint::open(folder_ / "hf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const ModelShape& shape = checkpoint->shape();
  EXPECT_EQ(shape.depths, (std::vector<int>{2, 4}));
  EXPECT_EQ(shape.widths, (std::vector<int>{2, 4}));
  EXPECT_EQ(shape.label_names, (std::vector<std::string>{"label-0", "label-1", "label-2"}));
  EXPECT_EQ(shape.head_width(), 8);
  EXPECT_EQ(shape.ffn_share(), 16);
}

TEST_F(Import, WithoutAnElasticSectionOnlyTheWholeModelIsLegal) {
  TinyModel model;
  model.depths = {};
  write_checkpoint(folder_ / "hf", model);
  const auto checkpoint = BertCheckpoint::open(folder_ / "hf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->shape().depths, std::vector<int>{2});
  EXPECT_EQ(checkpoint->shape().widths, std::vector<int>{4});
}

TEST_F(Import, NamesLabelsThatTheConfigLeavesOut) {
  EXPECT_EQ(refusal([](json& c) { c.erase("id2label"); }), "");
  EXPECT_EQ(BertCheckpoint::open(folder_ / "hf")->shape().label_names, (std::vector<std::string>{"LABEL_0", "LABEL_1"}));
}

TEST_F(Import, SaysWhatDoesNotDivideByWhat) {
  TinyModel model;
  model.ffn = 66;
  EXPECT_THAT(refusal([](json&) {}, model), HasSubstr("intermediate_size 66 is not divisible by num_attention_heads 4"));
  EXPECT_THAT(refusal([](json& c) { c["num_attention_heads"] = 5; }),
              HasSubstr("hidden_size 32 is not divisible by num_attention_heads 5"));
}

TEST_F(Import, RefusesOtherModelsByName) {
  EXPECT_THAT(refusal([](json& c) { c["hidden_act"] = "gelu_new"; }), HasSubstr("hidden_act is \"gelu_new\""));
  EXPECT_THAT(refusal([](json& c) { c["hidden_act"] = "relu"; }), HasSubstr("hidden_act is \"relu\""));
  EXPECT_THAT(refusal([](json& c) { c["model_type"] = "roberta"; }), HasSubstr("model_type is \"roberta\""));
  EXPECT_THAT(refusal([](json& c) { c["position_embedding_type"] = "relative_key"; }), HasSubstr("relative_key"));
  EXPECT_THAT(refusal([](json& c) { c["architectures"] = {"BertForMaskedLM"}; }), HasSubstr("BertForMaskedLM"));
  EXPECT_THAT(refusal([](json& c) { c["is_decoder"] = true; }), HasSubstr("is_decoder"));
}

TEST_F(Import, RefusesNumbersThatAreNone) {
  EXPECT_THAT(refusal([](json& c) { c["hidden_size"] = -32; }), HasSubstr("hidden_size is -32"));
  EXPECT_THAT(refusal([](json& c) { c["num_attention_heads"] = 65; }), HasSubstr("1 to 64"));
  EXPECT_THAT(refusal([](json& c) { c["num_attention_heads"] = "4"; }), HasSubstr("num_attention_heads is \"4\""));
  EXPECT_THAT(refusal([](json& c) { c.erase("vocab_size"); }), HasSubstr("vocab_size is missing"));
  EXPECT_THAT(refusal([](json& c) { c["layer_norm_eps"] = 0; }), HasSubstr("layer_norm_eps is 0"));
  EXPECT_THAT(refusal([](json& c) { c["elastic"]["depths"] = {1, 3}; }), HasSubstr("elastic.depths holds 3"));
  EXPECT_THAT(refusal([](json& c) { c["elastic"]["widths"] = 4; }), HasSubstr("elastic.widths"));
  EXPECT_THAT(refusal([](json& c) { c["elastic"] = "wide"; }), HasSubstr("elastic is no object"));
  EXPECT_THAT(refusal([](json& c) { c["id2label"]["2"] = "third"; }), HasSubstr("id2label names 3"));
  EXPECT_THAT(refusal([](json& c) { c["hidden_size"] = 64; }), HasSubstr("config.json makes it [50, 64]"));
}

TEST_F(Import, NamesAMissingExitHead) {
  TinyModel model;
  model.layers = 3;
  model.depths = {1, 3};
  EXPECT_THAT(refusal(
                  [](json& c) {
                    c["elastic"]["depths"] = {1, 2, 3};
                  },
                  model),
              HasSubstr("exits.2.pooler.dense.weight is missing"));
}

TEST_F(Import, NamesMissingFiles) {
  EXPECT_THAT(BertCheckpoint::open(folder_ / "nowhere").error().message, HasSubstr("no such folder"));
  write_checkpoint(folder_ / "hf");
  std::filesystem::remove(folder_ / "hf/config.json");
  EXPECT_THAT(BertCheckpoint::open(folder_ / "hf").error().message, HasSubstr("config.json"));
  write_checkpoint(folder_ / "hf");
  std::filesystem::remove(folder_ / "hf/model.safetensors");
  EXPECT_THAT(BertCheckpoint::open(folder_ / "hf").error().message, HasSubstr("0 *.safetensors files"));
}

TEST_F(Import, RefusesAnIndexThatLeavesTheFolder) {
  TinyModel model;
  model.files = 2;
  write_checkpoint(folder_ / "hf", model);
  const std::string index = folder_ / "hf/model.safetensors.index.json";
  json j = json::parse(slurp(index));
  j["weight_map"]["classifier.bias"] = "../model-0.safetensors";
  spill(index, j.dump());
  EXPECT_THAT(BertCheckpoint::open(folder_ / "hf").error().message, HasSubstr("mapped to no file name"));
  j["weight_map"]["classifier.bias"] =
      j["weight_map"]["classifier.weight"];  // tensors are dealt in turn: it is in the other
  spill(index, j.dump());
  EXPECT_THAT(BertCheckpoint::open(folder_ / "hf").error().message, HasSubstr("classifier.bias of the index is not in it"));
}

TEST_F(Import, NamesTheFirstWeightThatIsNotFinite) {
  TinyModel model;
  model.type = ElementType::kF32;
  write_checkpoint(folder_ / "hf", model);
  std::string bytes = slurp(folder_ / "hf/model.safetensors");
  const float infinite = std::numeric_limits<float>::infinity();
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  std::memcpy(bytes.data() + 8 + header + 4 * 7, &infinite, 4);  // the first tensor written: the word embeddings
  spill(folder_ / "hf/model.safetensors", bytes);
  const auto made = make_store(folder_ / "hf", folder_ / "store", {});
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, HasSubstr("word_embeddings.weight: element 7 is not finite"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "store"));
}

TEST_F(Import, EveryCutOfASafetensorsFileIsRefused) {
  write_checkpoint(folder_ / "hf");
  const std::string bytes = slurp(folder_ / "hf/model.safetensors");
  for (size_t cut = 0; cut < bytes.size(); cut += cut < 4096 ? 37 : 997) {
    spill(folder_ / "hf/model.safetensors", bytes.substr(0, cut));
    EXPECT_FALSE(BertCheckpoint::open(folder_ / "hf").ok()) << cut;
  }
}

std::string header_refusal(const std::string& header, int64_t data) {
  const auto parsed = parse_safetensors_header(std::as_bytes(std::span(header)), data, "f");
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(SafetensorsHeader, RefusesOffsetsThatLieOrOverflow) {
  EXPECT_EQ(header_refusal(R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}})", 12), "");
  EXPECT_EQ(header_refusal(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4), "");
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}})", 11), HasSubstr("outside"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[12,0]}})", 12), HasSubstr("outside"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,10]}})", 12), HasSubstr("need 12"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F16","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 12),
              HasSubstr("no list of sizes"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F16","shape":[18446744073709551615],"data_offsets":[0,0]}})", 12),
              HasSubstr("no list of sizes"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F16","shape":[-1],"data_offsets":[0,0]}})", 12), HasSubstr("no list"));
  EXPECT_THAT(header_refusal(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})", 12), HasSubstr("F7"));
  EXPECT_THAT(header_refusal(R"({"a":[]})", 12), HasSubstr("tensor a"));
  EXPECT_THAT(header_refusal(R"([1])", 12), HasSubstr("not a JSON object"));
  EXPECT_THAT(header_refusal("{\"a\":", 12), HasSubstr("not a JSON object"));
  EXPECT_THAT(header_refusal(std::string(100000, '['), 12), HasSubstr("not a JSON object"));
}

}  // namespace
}  // namespace tessera
