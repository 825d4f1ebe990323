// Measures what share of the disk's bandwidth loads reach, with their checksums checked; and whether the cap holds.
//
//   bench_storage [FOLDER]     a folder on the disk to measure (default: the system's temporary folder); needs 256 MiB there
//
// limit: one thread, O_DIRECT, 1 MiB reads one after another, as `dd iflag=direct bs=1M` does. All rows come from one run,
// passes of the limit and of the loads in turn; the best pass of each counts, for noise only ever slows one down.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "framework/clock.h"
#include "framework/registry.h"

namespace tessera {
void register_backends();
namespace {

constexpr int64_t kFileBytes = 256 << 20;
constexpr int64_t kExtent = 128 << 10;  // of the order of a shard of the embedded model at 6 bits
constexpr int kPasses = 5;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "bench_storage: %s\n", why.c_str());
  std::exit(4);
}

double seconds_since(Duration start) { return (WallClock::instance().now() - start).seconds(); }

// A file of random bytes with the checksums of its extents and of its blocks.
struct TestFile {
  std::string path;
  int direct = -1, buffered = -1;
  std::vector<uint64_t> extents, blocks;

  explicit TestFile(const std::string& folder) : path(folder + "/tessera_bench_" + std::to_string(::getpid())) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0) stop(path + ": " + std::strerror(errno));
    std::mt19937_64 random(1);
    std::vector<uint64_t> words(kExtent / 8);
    for (int64_t at = 0; at < kFileBytes; at += kExtent) {
      for (uint64_t& word : words) word = random();
      extents.push_back(XXH3_64bits(words.data(), kExtent));
      for (int64_t b = 0; b < kExtent; b += 4096) blocks.push_back(XXH3_64bits(words.data() + b / 8, 4096));
      if (::write(fd, words.data(), kExtent) != kExtent) stop(path + ": " + std::strerror(errno));
    }
    ::fsync(fd);
    ::close(fd);
    direct = ::open(path.c_str(), O_RDONLY | O_DIRECT);
    buffered = ::open(path.c_str(), O_RDONLY);
    if (direct < 0 || buffered < 0) stop(path + ": cannot be opened with O_DIRECT; give a folder on a disk");
  }
  ~TestFile() {
    ::close(direct);
    ::close(buffered);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

class Bench {
 public:
  explicit Bench(const std::string& folder) : file_(folder) {
    backend_ = backends().find("storage")->make({});
    buffer_ = backend_->allocate(0, {kFileBytes / 16}).take();
    std::memset(buffer_.host, 1, static_cast<size_t>(buffer_.bytes.n));
  }
  ~Bench() { backend_->release(buffer_); }

  // Bytes per second of plain sequential reads.
  double limit(int fd) {
    const Duration start = WallClock::instance().now();
    for (int64_t at = 0; at < kFileBytes; at += 1 << 20)
      if (::pread(fd, buffer_.host, 1 << 20, at) != 1 << 20) stop("read failed");
    return static_cast<double>(kFileBytes) / seconds_since(start);
  }

  // The same through loads of `count` extents each, checked.
  double loads(Backend& backend, int fd, int count, int64_t bytes = kFileBytes) {
    const Duration start = WallClock::instance().now();
    const int64_t whole = bytes / (count * kExtent) * count;
    for (int64_t first = 0; first < whole; first += count) {
      std::vector<ReadRequest> reads;
      for (int64_t i = first; i < first + count; ++i)
        reads.push_back({fd, i * kExtent, kExtent, {&buffer_, (i - first) * kExtent}, file_.extents[i], file_.path});
      run(backend, Op::kLoadShards, reads);
    }
    return static_cast<double>(whole * kExtent) / seconds_since(start);
  }

  // Seconds of one load of `count` random rows.
  double rows(int fd, int count) {
    std::vector<ReadRequest> reads;
    for (int i = 0; i < count; ++i) {
      const auto block = static_cast<int64_t>(random_() % file_.blocks.size());
      reads.push_back({fd, block * 4096, 4096, {&buffer_, int64_t{i} * 4096}, file_.blocks[block], file_.path});
    }
    const Duration start = WallClock::instance().now();
    run(*backend_, Op::kLoadRows, reads);
    return seconds_since(start);
  }

  void compare(const char* name, int fd) {
    const int counts[] = {1, 4, 12, 32};
    double best_limit = 0, best[4] = {};
    for (int pass = 0; pass < kPasses; ++pass) {
      best_limit = std::max(best_limit, limit(fd));
      for (int i = 0; i < 4; ++i) best[i] = std::max(best[i], loads(*backend_, fd, counts[i]));
    }
    std::printf("%-9s limit, 1 MiB reads in turn        %8.0f MB/s\n", name, best_limit / 1e6);
    for (int i = 0; i < 4; ++i)
      std::printf("%-9s loads of %2d extents (%5.2f MiB)    %8.0f MB/s  %5.1f %% of the limit\n", name, counts[i],
                  static_cast<double>(counts[i] * kExtent) / (1 << 20), best[i] / 1e6, 100 * best[i] / best_limit);
    for (int count : {16, 256}) {
      double least = 1e9;
      for (int pass = 0; pass < 4 * kPasses; ++pass) least = std::min(least, rows(fd, count));
      std::printf("%-9s load of %3d random rows            %8.0f us    %5.1f us a row\n", name, count, least * 1e6,
                  least * 1e6 / count);
    }
  }

  void caps() {
    for (const double cap : {83e6, 250e6, 500e6}) {
      BackendOptions options;
      options.bandwidth_cap = {cap};
      const auto slow = backends().find("storage")->make(options);
      for (int count : {1, 12}) {
        const double got =
            loads(*slow, file_.buffered, count, static_cast<int64_t>(cap / 4) / (12 * kExtent) * 12 * kExtent);
        std::printf("cap       %3.0f MB/s, loads of %2d extents    %8.1f MB/s  %+5.2f %%\n", cap / 1e6, count, got / 1e6,
                    100 * (got / cap - 1));
      }
    }
  }

  void all() {
    const DeviceDescription d = backend_->describe()[0];
    std::printf("disk0: %s%s%s; every load is checked (XXH3)\n", d.properties[0].second.c_str(), d.why.empty() ? "" : "; ",
                d.why.c_str());
    compare("O_DIRECT", file_.direct);
    limit(file_.buffered);
    compare("cached", file_.buffered);
    caps();
  }

 private:
  void run(Backend& backend, Op op, const std::vector<ReadRequest>& reads) {
    Task task;
    task.kind = TaskKind::kLoad;
    task.cost.op = op;
    Operands operands;
    operands.reads = reads;
    const auto ticket = backend.submit(0, task, operands);
    if (!ticket.ok()) stop(ticket.error().message);
    const Status status = backend.wait(0, *ticket, kForever);
    if (!status.ok()) stop(status.error().message);
  }

  TestFile file_;
  std::unique_ptr<Backend> backend_;
  Buffer buffer_;
  std::mt19937 random_{2};
};

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::register_backends();
  tessera::Bench(argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string()).all();
}
