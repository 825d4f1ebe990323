// Tests that the cost book answers per device, learns from runs, and tells when it has drifted.
#include "scheduler/cost_book.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

CostKey load_key(DeviceId device, int64_t bytes) {
  CostKey key;
  key.device = device;
  key.op = Op::kLoadShards;
  key.bytes = bytes;
  return key;
}

std::unique_ptr<CostModel> disk(double bytes_per_second) {
  Roofline figures;
  figures.bandwidth = {bytes_per_second};
  return make_roofline({}, figures);
}

// A run of `count` loads of 1 MB that took `each`.
void run(CostBook& book, int count, Duration each, TaskState state = TaskState::kDone) {
  TaskGraphBuilder builder;
  RunReport report;
  for (int i = 0; i < count; ++i) {
    Task task;
    task.cost = load_key(0, 1'000'000);
    builder.add(task);
    report.tasks.push_back({each * i, each * (i + 1), state});
  }
  book.observe(builder.build().value(), report);
}

TEST(CostBook, AnswersWithTheDevicesOwnModel) {
  CostBook book;
  book.set(0, disk(1e9));
  book.set(2, disk(1e6));
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).mean, milliseconds(1));
  EXPECT_EQ(book.estimate(load_key(2, 1'000'000)).mean, milliseconds(1000));
  EXPECT_EQ(book.estimate(load_key(1, 1'000'000)).provenance, Provenance::kGuessed);
  EXPECT_EQ(book.estimate(load_key(200, 1'000'000)).mean.ns, 0);
}

TEST(CostBook, FallsBackToTheBackendsGuessAndTakesItsWorkspace) {
  CostBook book;
  book.set_guess(0, [](const CostKey&) {
    Estimate e;
    e.mean = milliseconds(9);
    e.workspace = kib(3);
    return e;
  });
  EXPECT_EQ(book.estimate(load_key(0, 1)).mean, milliseconds(9));
  book.set(0, disk(1e9));
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).mean, milliseconds(1));
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).workspace, kib(3));
}

TEST(CostBook, ChangesItsVersionWhenAModelIsReplaced) {
  CostBook book;
  const uint64_t before = book.version();
  book.set(0, disk(1e9));
  EXPECT_NE(book.version(), before);
}

TEST(CostBook, KeepsItsVersionWhileItLearnsLittle) {
  CostBook book;
  book.set(0, disk(1e9));
  const uint64_t before = book.version();
  for (int i = 0; i < 10; ++i) run(book, 6, microseconds(1050));
  EXPECT_EQ(book.version(), before);
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).mean, microseconds(1050));
  EXPECT_TRUE(book.learned());
}

TEST(CostBook, ChangesItsVersionOnceItHasDriftedByTenPercent) {
  CostBook book;
  book.set(0, disk(1e9));
  const uint64_t before = book.version();
  for (int i = 0; i < 10; ++i) run(book, 6, microseconds(1200));
  EXPECT_EQ(book.version(), before + 1);
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).mean, microseconds(1200));
}

TEST(CostBook, IsNotMovedByOneWildRun) {
  CostBook book;
  book.set(0, disk(1e9));
  const uint64_t before = book.version();
  run(book, 12, milliseconds(500));
  EXPECT_EQ(book.version(), before);
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).mean, milliseconds(1));
}

TEST(CostBook, LearnsNothingFromTasksThatDidNotEndWell) {
  CostBook book;
  book.set(0, disk(1e9));
  for (TaskState state : {TaskState::kFailed, TaskState::kCancelled, TaskState::kRunning, TaskState::kWaiting})
    run(book, 30, milliseconds(7), state);
  run(book, 30, {0});
  EXPECT_FALSE(book.learned());
  EXPECT_EQ(book.estimate(load_key(0, 1'000'000)).mean, milliseconds(1));
}

}  // namespace
}  // namespace tessera
