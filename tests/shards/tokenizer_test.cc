// Checks the tokenizer against ids of Hugging Face's, and that no file can break it.
#include "shards/tokenizer.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "shards/hash.h"
#include "shards/tokenizer_blob.h"

namespace tessera {
namespace {

using Json = nlohmann::json;
const std::string kModel = std::string(TESSERA_SOURCE_DIR) + "/models/minilm6-sst2";

const Tokenizer& embedded() {
  static const auto tokenizer = Tokenizer::from_hf(kModel).take();
  return *tokenizer;
}

// A folder of its own for each test, removed at its end.
class TokenizerFiles : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tokenizer_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
  }
  std::string write_compiled(const std::vector<std::byte>& bytes) {
    write("compiled", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return dir_ + "/compiled";
  }
  std::string import_error() {
    auto tokenizer = Tokenizer::from_hf(dir_);
    return tokenizer.ok() ? "" : tokenizer.error().message;
  }
  std::string dir_;
};

const std::string kTinyVocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nÉ\ne\n##lo\nhel\nHello\n";

TEST(Tokenizer, GivesTheIdsOfHardStrings) {
  std::ifstream in(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/tokenizer_golden.json");
  const Json golden = Json::parse(in);
  ASSERT_GE(golden["cases"].size(), 250u);
  for (const Json& c : golden["cases"]) {
    const std::string a = c["a"];
    const int limit = c["max"];
    const Encoding got =
        c.contains("b") ? embedded().encode_pair(a, c["b"].get<std::string>(), limit) : embedded().encode(a, limit);
    EXPECT_EQ(got.ids, c["ids"].get<std::vector<int32_t>>()) << c["kind"] << ": " << c.dump().substr(0, 300);
    EXPECT_EQ(got.truncated, c["truncated"].get<bool>()) << c.dump().substr(0, 300);
    if (c.contains("b")) { EXPECT_EQ(got.types, c["types"].get<std::vector<int32_t>>()) << c.dump().substr(0, 300); }
  }
}

TEST(Tokenizer, GivesTheIdsOfTheModelsGoldenSentences) {
  std::ifstream in(kModel + "/golden.jsonl");
  int sentences = 0;
  for (std::string line; std::getline(in, line); ++sentences) {
    const Json c = Json::parse(line);
    EXPECT_EQ(embedded().encode(c["text"].get<std::string>(), 512).ids, c["ids"].get<std::vector<int32_t>>()) << c["text"];
  }
  EXPECT_EQ(sentences, 64);
}

TEST(Tokenizer, ReplacesInvalidUtf8AsADecoderWould) {
  // Overlong, surrogate, beyond U+10FFFF, cut, stray: U+FFFD, which cleaning removes.
  for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE4\xBD", "\x80", "\xFF"})
    EXPECT_EQ(embedded().encode(std::string("good") + bad, 16).ids, embedded().encode("good", 16).ids);
  EXPECT_EQ(decode_utf8("a\xE4\xBD"
                        "b\xF0\x90\x80"),
            (std::u32string{U'a', 0xFFFD, U'b', 0xFFFD}));
  EXPECT_EQ(decode_utf8("\xED\xA0\x80"), std::u32string(3, 0xFFFD));
}

TEST_F(TokenizerFiles, ReadsItsCompiledForm) {
  const std::vector<std::byte> compiled = embedded().compile();
  const auto tokenizer = Tokenizer::from_compiled(write_compiled(compiled));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->compile(), compiled);
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 30522);
  EXPECT_EQ((*tokenizer)->encode("unaffable [SEP] café", 64).ids, embedded().encode("unaffable [SEP] café", 64).ids);
}

TEST_F(TokenizerFiles, RefusesEveryFlippedByteAndEveryLength) {
  write("vocab.txt", kTinyVocab);
  const std::vector<std::byte> compiled = Tokenizer::from_hf(dir_).take()->compile();
  for (size_t i = 0; i < compiled.size(); ++i) {
    std::vector<std::byte> damaged = compiled;
    damaged[i] ^= std::byte{0x40};
    EXPECT_FALSE(Tokenizer::from_compiled(write_compiled(damaged)).ok()) << "byte " << i;
    damaged = compiled;
    damaged.resize(i);
    EXPECT_FALSE(Tokenizer::from_compiled(write_compiled(damaged)).ok()) << "length " << i;
  }
}

TEST_F(TokenizerFiles, NeverReadsOutsideAForgedFile) {
  write("vocab.txt", kTinyVocab);
  const std::vector<std::byte> compiled = Tokenizer::from_hf(dir_).take()->compile();
  for (size_t i = 16; i < compiled.size(); ++i) {
    for (const uint8_t value : {0x00, 0x01, 0x7F, 0xFF}) {
      std::vector<std::byte> forged = compiled;
      forged[i] = std::byte{value};
      const uint64_t checksum = checksum64(std::span<const std::byte>(forged).subspan(16));
      std::memcpy(forged.data() + 8, &checksum, 8);
      const auto tokenizer = Tokenizer::from_compiled(write_compiled(forged));
      if (tokenizer.ok()) { EXPECT_LE((*tokenizer)->encode("hello É helhel [SEP] xx", 8).tokens(), 8); }
    }
  }
}

TEST_F(TokenizerFiles, NeedsOnlyAVocabulary) {
  write("vocab.txt", kTinyVocab);
  const auto tokenizer = Tokenizer::from_hf(dir_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode("HELLO é hello[MASK]x", 16).ids, (std::vector<int32_t>{2, 5, 7, 5, 4, 1, 3}));
}

TEST_F(TokenizerFiles, FollowsTheTokenizerConfig) {
  write("vocab.txt", kTinyVocab);
  write("tokenizer_config.json", R"({"do_lower_case": false, "mask_token": {"content": "[MASK]"}})");
  const auto tokenizer = Tokenizer::from_hf(dir_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode("Hello É hello E", 16).ids, (std::vector<int32_t>{2, 10, 6, 5, 1, 3}));
}

TEST_F(TokenizerFiles, FollowsTokenizerJsonAndItsAddedTokens) {
  write("tokenizer.json", R"({
    "added_tokens": [{"id": 1, "content": "[UNK]"}, {"id": 7, "content": "[X]", "lstrip": true, "rstrip": true},
                     {"id": 8, "content": "NEW", "normalized": true, "single_word": true}],
    "normalizer": {"type": "BertNormalizer", "lowercase": true, "strip_accents": false},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["<s>", 3], "cls": ["<c>", 2]},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "@@", "max_input_chars_per_word": 5,
              "vocab": {"[UNK]": 1, "<c>": 2, "<s>": 3, "é": 4, "ab": 5, "@@cd": 6}}})");
  const auto tokenizer = Tokenizer::from_hf(dir_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 9);
  EXPECT_EQ((*tokenizer)->encode("É abcd abcdcd ab [X] new newab", 16).ids,
            (std::vector<int32_t>{2, 4, 5, 6, 1, 5, 7, 8, 1, 3}));
}

TEST_F(TokenizerFiles, NamesWhatIsWrongWithACheckpoint) {
  EXPECT_THAT(import_error(), testing::HasSubstr("neither vocab.txt nor tokenizer.json"));
  write("vocab.txt", "");
  EXPECT_THAT(import_error(), testing::HasSubstr("is empty"));
  write("vocab.txt", "[UNK]\n[SEP]\nhello\n");
  EXPECT_THAT(import_error(), testing::HasSubstr("'[CLS]' is not in it"));
}

TEST_F(TokenizerFiles, SurvivesMalformedTokenizerJson) {
  const std::string bert = R"("normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"})";
  const std::string special = R"("[UNK]": 0, "[CLS]": 1, "[SEP]": 2)";
  for (const std::string& text : std::vector<std::string>{
           "",
           "{",
           "[]",
           "null",
           "{}",
           R"({"model": 3})",
           R"({"model": {"type": "BPE"}})",
           R"({"model": {"vocab": []}})",
           R"({"model": {"vocab": {"a": "b"}}})",
           R"({"model": {"vocab": {"a": -1}}})",
           R"({"model": {"vocab": {"a": 4294967296}}})",
           R"({"model": {"vocab": {"a": 1, "b": 1}}})",
           R"({"model": {"type": 5, "vocab": {}}})",
           "{" + bert + R"(, "model": {"vocab": {}}})",
           "{" + bert + R"(, "added_tokens": {}, "model": {"vocab": {)" + special + "}}}",
           "{" + bert + R"(, "added_tokens": [{"id": 1.5}], "model": {"vocab": {)" + special + "}}}",
           "{" + bert + R"(, "post_processor": {"type": "X"}, "model": {"vocab": {)" + special + "}}}",
           "{" + bert + R"(, "post_processor": {"type": "TemplateProcessing", "single": [1, 2, 3]}, "model": {"vocab": {)" +
               special + "}}}",
           "{" + bert + R"(, "model": {"max_input_chars_per_word": 0, "vocab": {)" + special + "}}}",
           R"({"normalizer": null, "model": {"vocab": {)" + special + "}}}",
           std::string(100000, '[')}) {
    write("tokenizer.json", text);
    EXPECT_NE(import_error(), "") << text.substr(0, 100);
  }
  write("tokenizer.json", "{" + bert + R"(, "model": {"vocab": {)" + special + "}}}");
  EXPECT_EQ(import_error(), "");
}

TEST_F(TokenizerFiles, NamesACompiledFileThatIsNotThere) {
  const auto tokenizer = Tokenizer::from_compiled(dir_ + "/none");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(tokenizer.error().message.find("/none"), std::string::npos);
  EXPECT_FALSE(Tokenizer::from_compiled(dir_).ok());
}

}  // namespace
}  // namespace tessera
