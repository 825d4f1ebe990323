// Tests that loads bring exactly the bytes asked for, say what is wrong with a file, and end when told to.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include "backends/storage/load_job.h"
#include "backends/storage/read_engine.h"
#include "framework/clock.h"
#include "framework/registry.h"

namespace tessera {
void register_backends();
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Backend> storage_backend(BytesPerSecond cap = {}) {
  register_backends();
  BackendOptions options;
  options.bandwidth_cap = cap;
  return backends().find("storage")->make(options);
}

// A file of random bytes in blocks of 4096, and buffers to read them to.
class StorageTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    path_ = (fs::temp_directory_path() /
             ("tessera_storage_" + std::to_string(::getpid()) + "_" + std::to_string(reinterpret_cast<uintptr_t>(this))))
                .string();
    backend_ = storage_backend();
    make_file(2400);  // 9.4 MiB: more than is kept in flight at once
  }
  void TearDown() override {
    if (fd_ >= 0) ::close(fd_);
    backend_->release(buffer_);
    std::error_code ignored;
    fs::remove(path_, ignored);
  }

  void make_file(int blocks) {
    if (fd_ >= 0) ::close(fd_);
    content_.resize(static_cast<size_t>(blocks) * 4096);
    std::mt19937_64 random(7);
    for (size_t i = 0; i < content_.size(); i += 8) {
      const uint64_t word = random();
      std::memcpy(content_.data() + i, &word, 8);
    }
    std::ofstream(path_, std::ios::binary).write(content_.data(), static_cast<std::streamsize>(content_.size()));
    fd_ = ::open(path_.c_str(), O_RDONLY | (direct() ? O_DIRECT : 0));
    ASSERT_GE(fd_, 0);
    backend_->release(buffer_);
    auto memory = backend_->allocate(0, {static_cast<int64_t>(content_.size()) + 4096});
    ASSERT_TRUE(memory.ok());
    buffer_ = memory.take();
    std::memset(buffer_.host, 0, static_cast<size_t>(buffer_.bytes.n));
  }

  virtual bool direct() const { return GetParam(); }

  // Blocks [first, first + count) of the file to block `to` of the buffer.
  ReadRequest extent(int first, int count, int to) {
    ReadRequest r;
    r.fd = fd_;
    r.offset = int64_t{first} * 4096;
    r.length = int64_t{count} * 4096;
    r.to = {&buffer_, int64_t{to} * 4096};
    r.file = path_;
    if (r.offset + r.length <= static_cast<int64_t>(content_.size()))
      r.checksum = XXH3_64bits(content_.data() + r.offset, static_cast<size_t>(r.length));
    return r;
  }

  Status load(Backend& backend, const std::vector<ReadRequest>& reads) {
    task_.kind = TaskKind::kLoad;
    task_.cost.op = Op::kLoadShards;
    Operands operands;
    operands.reads = reads;
    auto ticket = backend.submit(0, task_, operands);
    if (!ticket.ok()) return ticket.error();
    return backend.wait(0, *ticket, kForever);
  }
  Status load(const std::vector<ReadRequest>& reads) { return load(*backend_, reads); }

  void expect_blocks(int first, int count, int to) {
    EXPECT_EQ(std::memcmp(buffer_.host + int64_t{to} * 4096, content_.data() + int64_t{first} * 4096,
                          static_cast<size_t>(count) * 4096),
              0)
        << "blocks " << first << " + " << count;
  }

  std::string path_;
  std::string content_;
  int fd_ = -1;
  Buffer buffer_;
  std::unique_ptr<Backend> backend_;
  Task task_;
};

TEST_P(StorageTest, ReadsOneBlock) {
  ASSERT_TRUE(load({extent(17, 1, 0)}).ok());
  expect_blocks(17, 1, 0);
}

TEST_P(StorageTest, ReadsEverythingInManyChunks) {
  const Status status = load({extent(0, 2400, 0)});
  ASSERT_TRUE(status.ok()) << status.error().message;
  expect_blocks(0, 2400, 0);
}

TEST_P(StorageTest, JoinsAdjacentExtentsAndKeepsOthersApart) {
  // Three adjacent, one adjacent in the file only, one in memory only, the same one twice.
  const std::vector<ReadRequest> reads = {extent(0, 30, 0),    extent(30, 37, 30), extent(67, 64, 67), extent(131, 5, 500),
                                          extent(900, 3, 505), extent(50, 4, 700), extent(50, 4, 710)};
  const Status status = load(reads);
  ASSERT_TRUE(status.ok()) << status.error().message;
  expect_blocks(0, 131, 0);
  expect_blocks(131, 5, 500);
  expect_blocks(900, 3, 505);
  expect_blocks(50, 4, 700);
  expect_blocks(50, 4, 710);
}

TEST_P(StorageTest, ReadsAroundTheChunkSize) {
  for (int blocks : {1, 63, 64, 65, 127, 128, 129, 1024, 1025}) {
    const Status status = load({extent(3, blocks, 0), extent(3 + blocks, 1, blocks)});
    ASSERT_TRUE(status.ok()) << blocks << ": " << status.error().message;
    expect_blocks(3, blocks + 1, 0);
  }
}

TEST_P(StorageTest, ReadsManyRandomRows) {
  std::vector<ReadRequest> reads;
  std::mt19937 random(3);
  std::vector<int> blocks;
  for (int i = 0; i < 512; ++i) {
    blocks.push_back(static_cast<int>(random() % 2400));
    reads.push_back(extent(blocks.back(), 1, i));
  }
  const Status status = load(reads);
  ASSERT_TRUE(status.ok()) << status.error().message;
  for (int i = 0; i < 512; ++i) expect_blocks(blocks[i], 1, i);
}

TEST_P(StorageTest, HasNothingToDoWithoutReads) {
  task_.cost.op = Op::kLoadRows;
  auto ticket = backend_->submit(0, task_, {});
  ASSERT_TRUE(ticket.ok());
  EXPECT_EQ(*ticket, kDone);
  EXPECT_TRUE(backend_->wait(0, kDone, {0}).ok());
}

TEST_P(StorageTest, FindsASingleFlippedBit) {
  for (int at : {0, 4096 * 100 + 17, 4096 * 2400 - 1}) {
    content_[at] ^= 1;
    ReadRequest whole = extent(0, 2400, 0);
    content_[at] ^= 1;
    const Status status = load({whole});
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kData);
    EXPECT_NE(status.error().message.find(path_ + ": bytes [0, 9830400): damaged"), std::string::npos)
        << status.error().message;
    EXPECT_NE(status.error().message.find("tessera verify"), std::string::npos);
  }
}

TEST_P(StorageTest, SaysWhereATruncatedFileEnds) {
  for (int64_t size : {int64_t{0}, int64_t{4096}, int64_t{5000}, int64_t{1000 * 4096}, int64_t{1000 * 4096 + 1}}) {
    fs::resize_file(path_, static_cast<uintmax_t>(size));
    const Status status = load({extent(0, 2400, 0)});
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kData);
    EXPECT_NE(status.error().message.find("the file ends at " + std::to_string(size) + ", 9830400 expected"),
              std::string::npos)
        << status.error().message;
  }
}

TEST_P(StorageTest, GoesOnAfterAFailedLoad) {
  ReadRequest wrong = extent(0, 1, 0);
  wrong.checksum ^= 1;
  EXPECT_FALSE(load({wrong, extent(1, 2000, 1)}).ok());
  EXPECT_TRUE(load({extent(5, 7, 0)}).ok());
  expect_blocks(5, 7, 0);
}

TEST_P(StorageTest, RefusesWhatItCannotRead) {
  ReadRequest r = extent(0, 1, 0);
  r.length = 100;
  EXPECT_EQ(load({r}).error().code, ErrorCode::kInternal);
  r = extent(0, 1, 0);
  r.to.offset = buffer_.bytes.n;
  EXPECT_FALSE(load({r}).ok());
  r = extent(0, 1, 0);
  r.to.buffer = nullptr;
  EXPECT_FALSE(load({r}).ok());
  r = extent(0, 1, 0);
  r.fd = -1;
  EXPECT_FALSE(load({r}).ok());
  r = extent(0, 1, 0);
  r.fd = 1'000'000;  // not open: the kernel says so
  EXPECT_EQ(load({r}).error().code, ErrorCode::kData);
  task_.cost.op = Op::kLayer;
  EXPECT_FALSE(backend_->submit(0, task_, {}).ok());
}

TEST_P(StorageTest, NamesADirectoryAsUnreadable) {
  ReadRequest r = extent(0, 1, 0);
  const int directory = ::open(fs::temp_directory_path().c_str(), O_RDONLY | O_DIRECTORY);
  r.fd = directory;
  const Status status = load({r});
  ::close(directory);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kData);
  EXPECT_NE(status.error().message.find("read failed"), std::string::npos);
}

TEST_P(StorageTest, RunsSeveralTicketsWaitedForInAnyOrder) {
  task_.cost.op = Op::kLoadShards;
  std::vector<std::vector<ReadRequest>> loads;
  for (int i = 0; i < 3; ++i) loads.push_back({extent(i * 700, 700, i * 700)});
  std::vector<Ticket> tickets;
  for (const auto& reads : loads) {
    Operands operands;
    operands.reads = reads;
    tickets.push_back(backend_->submit(0, task_, operands).take());
  }
  for (int i : {2, 0, 1}) EXPECT_TRUE(backend_->wait(0, tickets[i], kForever).ok());
  expect_blocks(0, 2100, 0);
  EXPECT_EQ(backend_->wait(0, tickets[0], kForever).error().code, ErrorCode::kInternal);
}

TEST_P(StorageTest, ReturnsByTheDeadlineAndCanBeWaitedForAgain) {
  const auto slow = storage_backend({50e6});  // 0.2 s for the file
  const std::vector<ReadRequest> reads = {extent(0, 2400, 0)};
  task_.cost.op = Op::kLoadShards;
  Operands operands;
  operands.reads = reads;
  const Ticket ticket = slow->submit(0, task_, operands).take();
  EXPECT_EQ(slow->wait(0, ticket, {0}).error().code, ErrorCode::kDeadline);
  EXPECT_EQ(slow->wait(0, ticket, WallClock::instance().now() + milliseconds(1)).error().code, ErrorCode::kDeadline);
  EXPECT_TRUE(slow->wait(0, ticket, kForever).ok());
  expect_blocks(0, 2400, 0);
}

TEST_P(StorageTest, EndsEarlyWhenCancelled) {
  const auto slow = storage_backend({1e3});  // hours
  const std::vector<ReadRequest> reads = {extent(0, 2400, 0)};
  task_.cost.op = Op::kLoadShards;
  Operands operands;
  operands.reads = reads;
  const Ticket ticket = slow->submit(0, task_, operands).take();
  slow->cancel(0, ticket);
  EXPECT_EQ(slow->wait(0, ticket, kForever).error().code, ErrorCode::kCancelled);
  slow->cancel(0, ticket);  // of a load that has ended: nothing happens
}

TEST_P(StorageTest, IsNeverFasterThanItsCap) {
  const auto slow = storage_backend({83e6});
  const Duration start = WallClock::instance().now();
  ASSERT_TRUE(load(*slow, {extent(0, 1200, 0)}).ok());
  ASSERT_TRUE(load(*slow, {extent(1200, 1200, 1200)}).ok());
  const double seconds = (WallClock::instance().now() - start).seconds();
  EXPECT_GE(seconds, 2400 * 4096 / 83e6 - 0.001);
  expect_blocks(0, 2400, 0);
}

INSTANTIATE_TEST_SUITE_P(Storage, StorageTest, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Direct" : "Buffered"; });

// The same through the engine that machines without io_uring use.
class PreadTest : public StorageTest {
 protected:
  Status load_with_pread(const std::vector<ReadRequest>& reads) {
    const auto engine = storage::make_pread_engine();
    storage::Pace pace({0});
    storage::LoadJob job(reads, engine.get(), &pace);
    job.begin();
    while (!job.advance(kForever)) {}
    return job.status();
  }
};

TEST_P(PreadTest, ReadsAndChecks) {
  ASSERT_TRUE(load_with_pread({extent(0, 30, 0), extent(30, 1500, 30), extent(2000, 1, 2000)}).ok());
  expect_blocks(0, 1530, 0);
  expect_blocks(2000, 1, 2000);
}

TEST_P(PreadTest, SaysWhatIsWrong) {
  ReadRequest wrong = extent(7, 1, 0);
  wrong.checksum ^= 1;
  EXPECT_NE(load_with_pread({wrong}).error().message.find("damaged"), std::string::npos);
  fs::resize_file(path_, 8192);
  EXPECT_NE(load_with_pread({extent(0, 2400, 0)}).error().message.find("the file ends at 8192"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Storage, PreadTest, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Direct" : "Buffered"; });

TEST(StorageDevice, DescribesItself) {
  const auto backend = storage_backend({83e6});
  const auto devices = backend->describe();
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].name, "disk0");
  EXPECT_EQ(devices[0].kind, DeviceKind::kStorage);
  EXPECT_TRUE(devices[0].available);
  CostKey key;
  key.op = Op::kLoadShards;
  EXPECT_TRUE(backend->supports(0, key, {}).yes);
  EXPECT_FALSE(backend->supports(1, key, {}).yes);
  key.op = Op::kExit;
  EXPECT_FALSE(backend->supports(0, key, {}).yes);
  EXPECT_FALSE(backend->supports(0, key, {}).why.empty());
}

TEST(StorageDevice, CopiesOnlyWhatFits) {
  const auto backend = storage_backend();
  Buffer a = backend->allocate(0, {100}).take();
  Buffer b = backend->allocate(0, {50}).take();
  std::memset(a.host, 5, 100);
  EXPECT_TRUE(backend->transfer(0, {&b, 10}, {&a, 60}, {40}).ok());
  EXPECT_EQ(static_cast<int>(b.host[49]), 5);
  EXPECT_FALSE(backend->transfer(0, {&b, 11}, {&a, 60}, {40}).ok());
  EXPECT_FALSE(backend->transfer(0, {&b, 0}, {}, {4}).ok());
  EXPECT_FALSE(backend->allocate(0, {-1}).ok());
  EXPECT_FALSE(backend->allocate(0, {INT64_MAX}).ok());
  backend->release(a);
  backend->release(b);
}

TEST(Pace, MovesBytesOneReadAfterAnother) {
  storage::Pace pace({1e6});
  EXPECT_EQ(pace.end_of(1000, milliseconds(100)), milliseconds(101));
  EXPECT_EQ(pace.end_of(1000, milliseconds(100)), milliseconds(102));
  EXPECT_EQ(pace.end_of(1000, milliseconds(500)), milliseconds(501));  // idle time is lost
}

TEST(Pace, ForgivesALateWakeUpWhereTheNextLoadFollowsAtOnce) {
  storage::Pace pace({1e6});
  EXPECT_EQ(pace.end_of(1000, milliseconds(100)), milliseconds(101));
  pace.delivered(milliseconds(103));  // 2 ms late
  EXPECT_EQ(pace.end_of(1000, milliseconds(103) + microseconds(50)), milliseconds(102));
  pace.delivered(milliseconds(103) + microseconds(60));
  EXPECT_EQ(pace.end_of(1000, milliseconds(104)), milliseconds(105));  // not at once: the disk was idle
}

}  // namespace
}  // namespace tessera
