// Checks the pages of requests: reuse, parts given back, the limit, and that the system's account agrees.
#include "scheduler/binder_arena.h"

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tessera {
namespace {

constexpr int64_t kPage = HostArena::kPage;

// Resident pages of this process, from the system.
Bytes resident() {
  long size = 0, pages = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%ld %ld", &size, &pages) != 2) ADD_FAILURE() << "/proc/self/statm";
  if (file != nullptr) std::fclose(file);
  return {pages * kPage};
}

TEST(HostArena, ReusesPagesThatWereGivenBack) {
  HostArena arena;
  std::byte* first = arena.allocate(10 * kPage).take();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 4096, 0u);
  arena.release(first, 10 * kPage);
  EXPECT_EQ(arena.allocate(9 * kPage + 1).take(), first);
  EXPECT_EQ(arena.touched().n, 10 * kPage);
}

TEST(HostArena, TakesBackAPartOfAPiece) {
  HostArena arena;
  std::byte* whole = arena.allocate(10 * kPage).take();
  std::memset(whole, 1, 10 * kPage);
  arena.release(whole + 2 * kPage, 3 * kPage);
  EXPECT_EQ(arena.in_use().n, 7 * kPage);
  EXPECT_EQ(arena.allocate(3 * kPage).take(), whole + 2 * kPage);
  EXPECT_EQ(whole[kPage], std::byte{1});
}

TEST(HostArena, LeavesReadableBytesBehindEveryPiece) {
  HostArena arena;
  const std::byte* huge = arena.allocate((int64_t{256} << 20)).take();  // a region to its last page
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += static_cast<int>(huge[(int64_t{256} << 20) + i]);
  EXPECT_EQ(sum, 0);
}

TEST(HostArena, TouchesPagesAheadWithinTheLimitAndHandsThemOutFirst) {
  HostArena arena;
  const Bytes before = resident();
  arena.touch_ahead(mib(16));
  EXPECT_EQ(arena.touched(), mib(16));
  EXPECT_EQ(arena.in_use(), Bytes{});
  EXPECT_GE(resident(), before + mib(15));
  ASSERT_TRUE(arena.allocate(mib(10).n).ok());
  EXPECT_EQ(arena.touched(), mib(16));
  arena.touch_ahead(mib(12));  // more are already
  EXPECT_EQ(arena.touched(), mib(16));
  arena.set_limit(mib(14));
  arena.touch_ahead(mib(64));
  EXPECT_EQ(arena.touched(), mib(14));
}

TEST(HostArena, GivesFreePagesBackToTheSystemBeyondTheLimit) {
  HostArena arena;
  std::byte* big = arena.allocate(mib(32).n).take();
  std::memset(big, 1, mib(32).n);
  const Bytes full = resident();
  arena.release(big, mib(32).n);
  EXPECT_EQ(arena.touched(), mib(32));
  arena.set_limit(mib(4));
  EXPECT_EQ(arena.touched(), mib(4));
  EXPECT_LE(resident(), full - mib(27));
}

TEST(HostArena, TrimsFreePagesToMakeRoomForNewOnes) {
  HostArena arena;
  arena.set_limit(kib(40));
  std::byte* a = arena.allocate(4 * kPage).take();
  std::byte* b = arena.allocate(4 * kPage).take();
  arena.release(a, 4 * kPage);
  std::byte* c = arena.allocate(6 * kPage).take();  // does not fit where a was
  EXPECT_NE(c, a);
  EXPECT_EQ(arena.in_use(), kib(40));
  EXPECT_LE(arena.touched(), kib(40));
  arena.release(b, 4 * kPage);
  arena.release(c, 6 * kPage);
  EXPECT_EQ(arena.in_use(), Bytes{});
}

TEST(HostArena, NeverHandsOutOverlappingPagesNorExceedsItsLimit) {
  std::mt19937 random(7);
  HostArena arena;
  arena.set_limit(mib(4));
  struct Piece {
    std::byte* at;
    int64_t bytes;
    unsigned char mark;
  };
  std::vector<Piece> pieces;
  int64_t used = 0;
  for (int step = 0; step < 20'000; ++step) {
    const int64_t bytes = (1 + random() % 40) * kPage;
    if (random() % 2 == 0 && used + bytes <= mib(4).n) {
      Piece piece{arena.allocate(bytes).take(), bytes, static_cast<unsigned char>(random())};
      for (int64_t p = 0; p < bytes; p += kPage) piece.at[p] = std::byte{piece.mark};
      pieces.push_back(piece);
      used += bytes;
    } else if (!pieces.empty()) {
      std::swap(pieces[random() % pieces.size()], pieces.back());
      const Piece& piece = pieces.back();
      for (int64_t p = 0; p < piece.bytes; p += kPage) ASSERT_EQ(piece.at[p], std::byte{piece.mark});
      arena.release(piece.at, piece.bytes);
      used -= piece.bytes;
      pieces.pop_back();
    }
    ASSERT_EQ(arena.in_use().n, used);
    ASSERT_LE(arena.touched(), mib(4));
  }
}

}  // namespace
}  // namespace tessera
