// Checks that storage devices bring the right bytes and notice wrong ones.
#include <algorithm>
#include <cstring>
#include <functional>

#include <fcntl.h>
#include <unistd.h>

#include "shards/hash.h"
#include "tests/conformance/contract_checks.h"
#include "tests/conformance/work.h"
#include "tests/support/tiny_model.h"

namespace tessera::conformance {
namespace {

constexpr int64_t kBlock = 4096;

// A file of `blocks` blocks and requests for `extents` of them, in a buffer each.
struct LoadRig {
  LoadRig(const Subject& subject, int blocks)
      : s(subject), memory(subject), bytes(static_cast<size_t>(blocks * kBlock), '\0') {
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((i * 2654435761u) >> 13);
    testing::spill(folder / "data", bytes);
    path = folder / "data";
    fd = ::open(path.c_str(), O_RDONLY);
    task.kind = TaskKind::kLoad;
    task.cost.op = Op::kLoadShards;
  }
  ~LoadRig() { ::close(fd); }
  void request(int64_t block, int64_t blocks) {
    const std::string_view view(bytes.data() + block * kBlock, static_cast<size_t>(blocks * kBlock));
    reads.push_back({fd, block * kBlock, blocks * kBlock, memory.empty(blocks * kBlock),
                     checksum64(std::as_bytes(std::span(view))), path});
    task.cost.bytes += blocks * kBlock;
    ++task.cost.reads;
  }
  Status load() {
    TESSERA_TRY(Status(memory.status()));
    Operands operands;
    operands.reads = reads;
    return perform(s, task, operands);
  }
  bool arrived(size_t i) {
    const auto got = memory.get<char>(reads[i].to, static_cast<size_t>(reads[i].length));
    return std::equal(got.begin(), got.end(), bytes.begin() + reads[i].offset);
  }
  const Subject& s;
  testing::TemporaryFolder folder;
  DeviceMemory memory;
  std::string bytes, path;
  std::vector<ReadRequest> reads;
  Task task;
  int fd = -1;
};

}  // namespace

Finding loads_and_checks(const Subject& s) {
  Finding f;
  LoadRig rig(s, 700);
  for (const auto& [block, blocks] : {std::pair<int, int>{0, 1}, {1, 2}, {5, 64}, {69, 65}, {699, 1}, {200, 400}})
    rig.request(block, blocks);
  f.expect(rig.load(), "load");
  for (size_t i = 0; i < rig.reads.size(); ++i) f.expect(rig.arrived(i), "extent " + std::to_string(i) + " differs");
  return f;
}

Finding reports_bad_loads(const Subject& s) {
  Finding f;
  const auto fails = [&](const char* what, const std::function<void(LoadRig&)>& damage) {
    LoadRig rig(s, 80);
    for (const int block : {0, 10, 40}) rig.request(block, 10);
    damage(rig);
    const Status status = rig.load();
    f.expect(!status.ok(), std::string(what) + " was not noticed");
    if (!status.ok()) f.expect(!status.error().message.empty(), std::string(what) + ": no message");
  };
  fails("a wrong checksum", [](LoadRig& rig) { rig.reads[1].checksum ^= 1; });
  fails("a truncated file", [](LoadRig& rig) { (void)!::truncate(rig.path.c_str(), 45 * kBlock); });
  fails("an extent beyond the end", [](LoadRig& rig) { rig.reads[2].offset = 1000 * kBlock; });
  fails("a file that is not open", [](LoadRig& rig) { rig.reads[0].fd = -1; });
  fails("no destination", [](LoadRig& rig) { rig.reads[0].to = {}; });
  LoadRig rig(s, 4);
  rig.request(0, 4);
  f.expect(rig.load(), "a good load after bad ones");
  return f;
}

}  // namespace tessera::conformance
