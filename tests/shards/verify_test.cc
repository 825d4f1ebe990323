// Checks that no damage goes unseen: not by verify, and not by a read of what it touches.
#include <filesystem>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "shards/store.h"
#include "tests/support/damageable_store.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::tessera::testing::DamageableStore;
using ::tessera::testing::make_tiny_store;
using ::tessera::testing::slurp;
using ::tessera::testing::spill;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;

class Verify : public DamageableStore {
 protected:
  Verify() : DamageableStore(make_tiny_store({.layers = 1, .depths = {1}}, {1, 4, kExact})) {}
  std::vector<Error> damages() {
    const auto report = verify_store(tiny_.directory);
    return report.ok() ? report->damages : std::vector<Error>{report.error()};
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(tiny_.directory)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Reads all that a request could: every shard, exit and row block. False where any read fails.
  static bool readable(const Store& store) {
    std::vector<std::byte> to;
    const auto fine = [&](const Extent& extent) {
      to.resize(static_cast<size_t>(extent.length));
      return store.read(extent, to.data()).ok();
    };
    const ModelShape& s = store.shape();
    bool all = true;
    for (Bits bits : s.bitwidths) {
      for (int16_t i = 0; i < s.layers * s.slices; ++i) {
        all = fine(store.shard({static_cast<int16_t>(i / s.slices), static_cast<int16_t>(i % s.slices)}, bits)) && all;
      }
    }
    for (int depth : s.depths) all = fine(store.exit(depth)) && all;
    for (int v = 0; v < s.vocab; ++v) all = fine(store.word_row(v).block) && all;
    for (int t = 0; t < s.max_tokens; ++t) all = fine(store.position_row(t).block) && all;
    return all;
  }
};

TEST_F(Verify, FindsNothingInAFreshStore) {
  const auto report = verify_store(tiny_.directory);
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->damages.empty());
  EXPECT_EQ(report->files, static_cast<int64_t>(files().size()));
  int64_t bytes = 0;
  for (const std::string& name : files()) bytes += static_cast<int64_t>(fs::file_size(at(name)));
  EXPECT_EQ(report->bytes, bytes);
}

TEST_F(Verify, AndReadsFindEveryFlippedBit) {
  ASSERT_TRUE(readable(*tiny_.store));
  int flips = 0;
  uint64_t random = 1;
  for (const std::string& name : files()) {
    const auto size = static_cast<int64_t>(fs::file_size(at(name)));
    const int64_t step = std::max<int64_t>(1, size / 320);
    for (int64_t offset = 0; offset < size; offset += step) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const auto mask = static_cast<uint8_t>(1u << (random >> 61));
      const int64_t place = std::min(size - 1, offset + static_cast<int64_t>(random >> 33) % step);
      flip(name, place, mask);
      const auto found = damages();
      EXPECT_FALSE(found.empty()) << name << " byte " << place;
      if (!found.empty()) { EXPECT_THAT(found[0].message, HasSubstr("/" + name)); }
      const auto opened = Store::open(tiny_.directory);  // sees the index and the residents
      if (name != "tokenizer") { EXPECT_FALSE(opened.ok() && readable(**opened)) << name << " byte " << place; }
      flip(name, place, mask);
      ++flips;
    }
  }
  EXPECT_GE(flips, 2000);
  EXPECT_TRUE(damages().empty());
}

TEST_F(Verify, FindsEveryCutAndEveryAddedByte) {
  for (const std::string& name : files()) {
    const std::string whole = slurp(at(name));
    for (const size_t keep : {size_t{0}, whole.size() / 2, whole.size() - 1}) {
      spill(at(name), whole.substr(0, keep));
      EXPECT_FALSE(damages().empty()) << name << " cut to " << keep;
      if (name != "tokenizer") { EXPECT_FALSE(Store::open(tiny_.directory).ok()) << name << " cut to " << keep; }
    }
    spill(at(name), whole + std::string(1, '\0'));
    EXPECT_FALSE(damages().empty()) << name << " with a byte more";
    fs::remove(at(name));
    EXPECT_FALSE(damages().empty()) << name << " gone";
    fs::create_directory(at(name));
    EXPECT_FALSE(damages().empty()) << name << " is a folder";
    fs::remove(at(name));
    spill(at(name), whole);
  }
  EXPECT_TRUE(damages().empty());
}

TEST_F(Verify, ReportsAllDamagesNotOnlyTheFirst) {
  flip("shards.1", 10, 1);
  flip("shards.exact", 10, 1);
  flip("rows", 10, 1);
  spill(at("notes.txt"), "foreign");
  EXPECT_EQ(damages().size(), 4u);
}

TEST_F(Verify, NamesForeignFilesButKnowsProfiles) {
  fs::create_directory(at("profiles"));
  spill(at("profiles/sst2.json"), "{not even json");
  EXPECT_TRUE(damages().empty());
  spill(at("profiles/sst2.json~"), "{}");
  EXPECT_THAT(damages(), Contains(Field(&Error::message, HasSubstr("profiles/sst2.json~"))));
  fs::remove(at("profiles/sst2.json~"));
  spill(at("shards.7"), "not in the index");
  EXPECT_THAT(damages(), Contains(Field(&Error::message, HasSubstr("shards.7: does not belong"))));
}

TEST_F(Verify, NamesTheDamagedShard) {
  const Extent extent = tiny_.store->shard({0, 2}, 4);
  flip("shards.4", extent.offset + extent.length - 1, 0x80);  // in the padding
  EXPECT_THAT(damages(), ::testing::ElementsAre(Field(&Error::message, HasSubstr("shard 0.2@4"))));
}

TEST_F(Verify, ReadsSeeAFileThatShrinksWhileItIsOpen) {
  const Extent extent = tiny_.store->shard({0, 3}, 4);
  fs::resize_file(at("shards.4"), static_cast<uintmax_t>(extent.offset + 100));
  std::vector<std::byte> to(static_cast<size_t>(extent.length));
  const Status read = tiny_.store->read(extent, to.data());
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.error().message, HasSubstr("ends at byte"));
}

}  // namespace
}  // namespace tessera
