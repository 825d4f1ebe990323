// What bad stores and bad folders say: each message names the object, what is wrong with it, and what to do.
#include <cstring>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "shards/hash.h"
#include "shards/store.h"
#include "shards/store_index.h"
#include "tests/support/damageable_store.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::tessera::testing::DamageableStore;
using ::tessera::testing::make_tiny_store;
using ::tessera::testing::slurp;
using ::tessera::testing::spill;
using ::testing::AllOf;
using ::testing::HasSubstr;

class BadStore : public DamageableStore {
 protected:
  BadStore() : DamageableStore(make_tiny_store({}, {2, kExact})) {}
  std::string open_error(const std::string& directory) const {
    const auto opened = Store::open(directory);
    if (opened.ok()) return "";
    EXPECT_EQ(opened.error().code, ErrorCode::kData);
    return opened.error().message;
  }
  std::string open_error() const { return open_error(tiny_.directory); }
};

TEST_F(BadStore, NoFolder) {
  EXPECT_THAT(open_error("/no/such/store"), AllOf(HasSubstr("/no/such/store/index"), HasSubstr("No such file")));
  EXPECT_THAT(verify_store("/no/such/store").error().message, HasSubstr("takes the folder of a store"));
}

TEST_F(BadStore, AFolderThatIsNoStore) {
  EXPECT_THAT(open_error(tiny_.checkpoint), HasSubstr("checkpoint/index: cannot open"));
  spill(at("index"), "hello");
  EXPECT_THAT(open_error(), AllOf(HasSubstr("not the index of a store (5 bytes)"), HasSubstr("tessera shard --force")));
}

TEST_F(BadStore, AnEmptyIndex) {
  spill(at("index"), "");
  EXPECT_THAT(open_error(), HasSubstr("(0 bytes)"));
}

TEST_F(BadStore, AnotherVersion) {
  std::string index = slurp(at("index"));
  index[8] = 9;
  seal(index);
  EXPECT_THAT(open_error(), HasSubstr("store version 9, this program reads version 1"));
}

TEST_F(BadStore, AFlippedIndexNamesItsBytes) {
  flip("index", static_cast<int64_t>(fs::file_size(at("index")) / 2), 4);
  EXPECT_THAT(open_error(), HasSubstr("do not match their checksum"));
}

TEST_F(BadStore, AForgedIndexIsCheckedAgainstItself) {
  forge("\"vocab\":50", "\"vocab\":99");
  EXPECT_THAT(open_error(), HasSubstr("its header makes it"));
  forge("\"vocab\":99", "\"vocab\":-1");
  EXPECT_THAT(open_error(), HasSubstr("vocab is missing or out of range"));
  forge("\"vocab\":-1", "\"vocab\":50");
  EXPECT_EQ(open_error(), "");
  forge("\"heads\":4", "\"heads\":5");
  EXPECT_THAT(open_error(), HasSubstr("heads divides"));
  forge("\"heads\":5", "\"heads\":0");
  EXPECT_THAT(open_error(), HasSubstr("heads is missing or out of range"));
  forge("\"heads\":0", "\"heads\":4");
  forge("\"bitwidths\":[2,32]", "\"bitwidths\":[9,32]");
  EXPECT_THAT(open_error(), HasSubstr("unknown bitwidth 9"));
  forge("\"bitwidths\":[9,32]", "\"bitwidths\":[2,32]");
  forge("\"codec\":\"flat\"", "\"codec\":\"soup\"");
  EXPECT_THAT(open_error(), HasSubstr("unknown codec soup"));
}

TEST_F(BadStore, AForgedExtentIsRefused) {
  std::string index = slurp(at("index"));
  const uint64_t huge = ~uint64_t{0};
  std::memcpy(index.data() + records_of(index), &huge, 8);  // the first shard's payload
  seal(index);
  EXPECT_THAT(open_error(), HasSubstr("shards.2 has an impossible size"));
}

TEST_F(BadStore, AMissingATruncatedAndAStrangeDataFile) {
  const std::string whole = slurp(at("shards.2"));
  spill(at("shards.2"), whole.substr(0, whole.size() - 4096));
  EXPECT_THAT(open_error(), AllOf(HasSubstr("shards.2: has"), HasSubstr("the index makes it")));
  fs::remove(at("shards.2"));
  EXPECT_THAT(open_error(), HasSubstr("shards.2: cannot open: No such file"));
  ASSERT_EQ(::mkfifo(at("shards.2").c_str(), 0600), 0);  // opening it would wait for ever
  EXPECT_THAT(open_error(), HasSubstr("shards.2: not a regular file"));
  EXPECT_THAT(verify_store(tiny_.directory)->damages[0].message, HasSubstr("not a regular file"));
}

TEST_F(BadStore, DamagedResidentsAreSeenWhenItOpens) {
  flip("resident", 100, 1);
  EXPECT_THAT(open_error(), AllOf(HasSubstr("resident: bytes 0 to"), HasSubstr("tessera shard --force")));
}

TEST_F(BadStore, AForgedShardWithARightChecksumIsSeenByVerify) {
  std::string shards = slurp(at("shards.2"));
  const Extent extent = tiny_.store->shard({0, 0}, 2);
  const uint32_t many = 0x7FFFFFFF;
  std::memcpy(shards.data() + 16 + 4, &many, 4);  // behind the dictionary: outliers of the first panel
  spill(at("shards.2"), shards);
  std::string index = slurp(at("index"));
  const uint64_t right = checksum64(std::as_bytes(std::span(shards)).first(static_cast<size_t>(extent.length)));
  std::memcpy(index.data() + records_of(index) + 8, &right, 8);
  seal(index);
  const auto report = verify_store(tiny_.directory);
  ASSERT_TRUE(report.ok());
  bool named = false;
  for (const Error& damage : report->damages) named = named || damage.message.find("shard 0.0@2") != std::string::npos;
  EXPECT_TRUE(named);
}

}  // namespace
}  // namespace tessera
