// A small store whose files tests damage: flipped bytes, forged indices with a right checksum.
#pragma once

#include <cstring>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "shards/hash.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {

class DamageableStore : public ::testing::Test {
 protected:
  explicit DamageableStore(TinyStore tiny) : tiny_(std::move(tiny)) {}

  std::string at(const std::string& name) const { return tiny_.directory + "/" + name; }
  // XORs one byte.
  void flip(const std::string& name, int64_t offset, uint8_t mask) const {
    std::string bytes = slurp(at(name));
    ASSERT_LT(static_cast<size_t>(offset), bytes.size()) << name;
    bytes[static_cast<size_t>(offset)] = static_cast<char>(bytes[static_cast<size_t>(offset)] ^ mask);
    spill(at(name), bytes);
  }
  // Writes the index with a checksum that is right.
  void seal(std::string index) const {
    ASSERT_GE(index.size(), 8U);
    const uint64_t checksum = checksum64(std::as_bytes(std::span(index)).first(index.size() - 8));
    std::memcpy(index.data() + index.size() - 8, &checksum, 8);
    spill(at("index"), index);
  }
  // Replaces text of the index's header by text of the same length.
  void forge(const std::string& from, const std::string& to) const {
    ASSERT_EQ(from.size(), to.size());
    std::string index = slurp(at("index"));
    const size_t place = index.find(from);
    ASSERT_NE(place, std::string::npos) << from;
    seal(index.replace(place, from.size(), to));
  }
  // Where the records of extents begin in an index: behind its header, at a multiple of 8.
  static size_t records_of(const std::string& index) {
    uint32_t header = 0;
    std::memcpy(&header, index.data() + 12, 4);
    return (16 + size_t{header} + 7) / 8 * 8;
  }

  TinyStore tiny_;
};

}  // namespace tessera::testing
