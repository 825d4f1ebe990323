// Tests that descriptions are read exactly, and that every mistake is named with its file and line.
#include "configs/loader.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace tessera {
namespace {

namespace fs = std::filesystem;

const std::string kConfigs = std::string(TESSERA_SOURCE_DIR) + "/configs/";

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = (fs::temp_directory_path() / ("tessera_config_" + std::to_string(::getpid()) + ".toml")).string();
  }
  void TearDown() override { fs::remove(path_); }
  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  std::string shape_error(const std::string& text) {
    write(text);
    const auto shape = load_shape(path_);
    return shape.ok() ? "" : shape.error().message;
  }
  std::string platform_error(const std::string& text) {
    write(text);
    const auto machine = load_platform(path_, load_shape(kConfigs + "models/bert-base.toml").value());
    return machine.ok() ? "" : machine.error().message;
  }
  // The message of an error at `line` with `text`.
  static void expect_error(const std::string& message, int line, const std::string& text) {
    EXPECT_NE(message.find(".toml:" + std::to_string(line) + ": "), std::string::npos) << message;
    EXPECT_NE(message.find(text), std::string::npos) << message;
  }
  std::string path_;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

CostKey layer_key(int tokens, int slices, Bits bits, bool decoded) {
  CostKey key;
  key.device = 1;
  key.op = Op::kLayer;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(slices);
  key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  return key;
}

TEST_F(ConfigFile, BertBaseHasTheShardsOfSti) {
  const auto shape = load_shape(kConfigs + "models/bert-base.toml");
  ASSERT_TRUE(shape.ok()) << shape.error().message;
  EXPECT_EQ(shape->shard_weights(), 589'824);
  EXPECT_EQ(shape->bytes_of({0, 0}, kExact).n, 2'359'296);
  EXPECT_EQ(shape->bytes_of({11, 11}, 2).n, 147'456);
  EXPECT_EQ(shape->bytes_of({11, 11}, 1).n, 0);
  EXPECT_TRUE(shape->legal_depth(3) && shape->legal_width(12));
  EXPECT_FALSE(shape->legal_depth(2));
  EXPECT_EQ(shape->bitwidths, (std::vector<Bits>{2, 3, 4, 5, 6, kExact}));
}

TEST_F(ConfigFile, TheStiBoardTakesThePublishedTimes) {
  const ModelShape shape = load_shape(kConfigs + "models/bert-base.toml").value();
  const auto machine = load_platform(kConfigs + "platforms/sti-board.toml", shape);
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_TRUE(machine->virtual_time);
  EXPECT_TRUE(machine->bindings.empty());
  EXPECT_EQ(machine->platform.find("disk0"), 0);
  EXPECT_EQ(machine->platform.find("cpu0"), 1);
  const int used_ms[] = {41, 52, 62, 70, 79, 86, 93, 103, 109, 119};
  for (int m = 3; m <= 12; ++m)
    for (Bits b : shape.bitwidths)
      EXPECT_EQ(machine->costs->estimate(layer_key(128, m, b, false)).mean, milliseconds(used_ms[m - 3])) << m;
  EXPECT_EQ(machine->costs->estimate(layer_key(128, 12, 2, true)).mean, milliseconds(95));
  for (Bits b : shape.bitwidths) {
    CostKey load;
    load.op = Op::kLoadShards;
    load.reads = 5;
    load.bytes = 3 * shape.bytes_of({0, 0}, b).n;
    EXPECT_EQ(machine->costs->estimate(load).mean.ns, 3 * 28'280'000LL * b / 32);
  }
  for (Op op : {Op::kEmbed, Op::kExit}) {
    CostKey key;
    key.device = 1;
    key.op = op;
    key.tokens = 128;
    EXPECT_EQ(machine->costs->estimate(key).mean.ns, 0);
  }
}

TEST_F(ConfigFile, APublishedTableIsScaledToAnotherModelAndSaysSo) {
  ModelShape small = load_shape(kConfigs + "models/bert-base.toml").value();
  small.hidden = 384;
  small.ffn = 1536;
  const auto machine = load_platform(kConfigs + "platforms/sti-board.toml", small);
  ASSERT_TRUE(machine.ok());
  const Estimate e = machine->costs->estimate(layer_key(128, 12, kExact, true));
  EXPECT_EQ(e.provenance, Provenance::kGuessed);
  EXPECT_NEAR(e.mean.ms(), 95.0 / 4, 1.5);  // a quarter of the weights; scores shrink less
}

TEST_F(ConfigFile, TheSmallBoardHasLittleMemory) {
  const ModelShape shape = load_shape(kConfigs + "models/bert-base.toml").value();
  const auto machine = load_platform(kConfigs + "platforms/small-board.toml", shape);
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  EXPECT_EQ(machine->platform.memories[0].capacity, mib(64));
  EXPECT_GT(machine->costs->estimate(layer_key(128, 12, 2, false)).mean,
            machine->costs->estimate(layer_key(128, 12, 2, true)).mean);
}

// The files that are shipped, whichever they are.
TEST_F(ConfigFile, EveryPlatformAndModelIsRead) {
  int platforms = 0;
  for (const auto& model : fs::directory_iterator(kConfigs + "models")) {
    const auto shape = load_shape(model.path());
    ASSERT_TRUE(shape.ok()) << shape.error().message;
    for (const auto& file : fs::directory_iterator(kConfigs + "platforms")) {
      const auto machine = load_platform(file.path(), *shape);
      ASSERT_TRUE(machine.ok()) << machine.error().message;
      EXPECT_EQ(machine->platform.name, file.path().stem());
      for (const DeviceDescription& d : machine->platform.devices)
        EXPECT_TRUE(file.path().stem() == "small-board" || !d.properties.empty())
            << file.path() << ": device " << d.name << " names no source";
      ++platforms;
    }
  }
  EXPECT_GE(platforms, 3);
}

// Of a board of today: an NVMe drive and four Cortex-A76.
TEST_F(ConfigFile, TheRaspberryPiReadsAndComputesAtPublishedRates) {
  const ModelShape shape = load_shape(kConfigs + "models/bert-base.toml").value();
  const auto machine = load_platform(kConfigs + "platforms/raspberry-pi-5.toml", shape);
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  CostKey load;
  load.op = Op::kLoadShards;
  load.reads = 1;
  load.bytes = 4096;
  EXPECT_NEAR(machine->costs->estimate(load).mean.us(), 73 + 5, 1);
  // 128 tokens of a BERT-base layer: 7,077,888 weights, and 2 * T * T * D for the scores and the context.
  const double flop = 2.0 * 128 * (7'077'888 + 2 * 128 * 768);
  EXPECT_NEAR(machine->costs->estimate(layer_key(128, 12, kExact, true)).mean.ms(), flop / 60.5e6, 1);
}

CostKey transfer_key(DeviceId device, int64_t bytes, bool to_host, int copies = 0) {
  CostKey key;
  key.device = device;
  key.op = Op::kTransfer;
  key.bytes = bytes;
  key.to_host = to_host;
  key.reads = static_cast<uint8_t>(copies);
  return key;
}

TEST_F(ConfigFile, TheTrioBoardHasDevicesWithMemoriesOfTheirOwnBehindLinks) {
  const ModelShape shape = load_shape(kConfigs + "models/bert-base.toml").value();
  const auto machine = load_platform(kConfigs + "platforms/trio-board.toml", shape);
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  const Platform& platform = machine->platform;
  for (const char* name : {"gpu0", "fpga0"}) {
    const DeviceId device = *platform.find(name);
    const DeviceDescription& d = platform.devices[device];
    EXPECT_TRUE(d.own_buffers && !d.host_visible && !d.shared_with_host) << name;
    EXPECT_EQ(platform.memories[d.memory].name, name);
    EXPECT_EQ(platform.space(device), device);
    const DeviceId link = platform.link_of(device);
    EXPECT_EQ(platform.devices[link].name, std::string(name) + ".link");
    EXPECT_EQ(platform.devices[link].kind, DeviceKind::kLink);
    EXPECT_EQ(platform.devices[link].memory, d.memory);
    // Activations cross on the device's own lane, at the link's figures, whatever its arithmetic is like.
    EXPECT_EQ(machine->costs->estimate(transfer_key(device, 1'000'000, false)).mean,
              machine->costs->estimate(transfer_key(link, 1'000'000, false)).mean);
  }
  EXPECT_FALSE(platform.devices[*platform.find("cpu0")].own_buffers);
  const DeviceId fpga = *platform.find("fpga0");
  EXPECT_EQ(machine->costs->estimate(transfer_key(fpga, 1'000'000, false)).mean, microseconds(115));
  EXPECT_EQ(machine->costs->estimate(transfer_key(fpga, 900'000, true)).mean, microseconds(115));
  EXPECT_EQ(machine->costs->estimate(transfer_key(platform.link_of(fpga), 1'000'000, false, 5)).mean, microseconds(125));
}

TEST_F(ConfigFile, MistakesInLinksAndMemoriesAreNamedWithTheirRemedy) {
  const std::string board = read_file(kConfigs + "platforms/trio-board.toml");
  const auto error = [&](const std::string& from, const std::string& to) {
    return platform_error(replaced(board, from, to));
  };
  expect_error(error("link = \"gpu0.link\"\n", "\n"), 41, "no link fills them; add link = ");
  expect_error(error("link = \"gpu0.link\"", "link = \"pcie\""), 44, "no device of kind \"link\" is named 'pcie'");
  expect_error(error("link = \"gpu0.link\"", "link = \"cpu0\""), 44, "no device of kind \"link\" is named 'cpu0'");
  expect_error(error("memory = \"gpu0\"\n", "\n"), 44, "computes in host memory, which no link fills");
  expect_error(error("memory = \"gpu0\"\n", "host_visible = true\n"), 44, "computes in host memory, which no link fills");
  expect_error(error("memory = \"gpu0\"\n", "memory = \"gpu1\"\n"), 43, "no memory named 'gpu1'");
  expect_error(error("memory = \"gpu0\"\n", "memory = \"gpu0\"\nshared = true\n"), 44, "memory must be \"host\"");
  expect_error(error("memory = \"gpu0\"\n", "memory = \"gpu0\"\nshared = \"no\"\n"), 44, "shared must be true or false");
  expect_error(error("bandwidth = \"10 GB/s\"  #", "# "), 57, "a link needs its bandwidth");
  expect_error(error("[device.link]", "[device.storage]"), 53, "table [link] is missing");
}

TEST_F(ConfigFile, BuffersOfItsOwnMayLieInTheHostsMemory) {
  const std::string board = read_file(kConfigs + "platforms/trio-board.toml");
  write(replaced(replaced(board, "memory = \"gpu0\"\n", "shared = true\n"), "kind = \"gpu\"",
                 "kind = \"gpu\"\nhost_visible = true"));
  const auto machine = load_platform(path_, load_shape(kConfigs + "models/bert-base.toml").value());
  ASSERT_TRUE(machine.ok()) << machine.error().message;
  const DeviceDescription& gpu = machine->platform.devices[*machine->platform.find("gpu0")];
  EXPECT_TRUE(gpu.own_buffers && gpu.host_visible && gpu.shared_with_host);
  EXPECT_EQ(gpu.memory, 0);
}

TEST_F(ConfigFile, UnknownKeysAreRefusedWithTheNearestOne) {
  const std::string good = read_file(kConfigs + "models/bert-base.toml");
  expect_error(shape_error(replaced(good, "hidden = 768", "hidden = 768\nhiden = 3")), 6, "did you mean 'hidden'?");
  const std::string board = read_file(kConfigs + "platforms/small-board.toml");
  expect_error(platform_error(replaced(board, "per_read =", "per_reed =")), 14, "did you mean 'per_read'?");
  expect_error(platform_error(replaced(board, "threads = 4", "thread = 4")), 20, "did you mean 'threads'?");
}

TEST_F(ConfigFile, ABareNumberIsRefusedWithTheUnitItLacks) {
  const std::string board = read_file(kConfigs + "platforms/small-board.toml");
  expect_error(platform_error(replaced(board, "\"200 us\"", "200")), 13, "latency: '200' has no unit; write 200ms");
  expect_error(platform_error(replaced(board, "\"64 MiB\"", "\"64\"")), 6, "capacity: '64' has no unit; write 64MiB");
  expect_error(platform_error(replaced(board, "\"83 MB/s\"", "83.5")), 12, "bandwidth: '83.5' has no unit");
}

TEST_F(ConfigFile, MistakesInAShapeAreNamed) {
  const std::string good = read_file(kConfigs + "models/bert-base.toml");
  expect_error(shape_error(replaced(good, "hidden = 768", "hidden = 770")), 5, "must be a multiple of slices = 12");
  expect_error(shape_error(replaced(good, "layers = 12", "layers = 0")), 3, "layers = 0 is out of range; 1 to 1024");
  expect_error(shape_error(replaced(good, "layers = 12", "layers = \"12\"")), 3, "whole number");
  expect_error(shape_error(replaced(good, "depths = [3", "depths = [13")), 10, "depths");
  expect_error(shape_error(replaced(good, "bitwidths = [2", "bitwidths = [9")), 12, "9 is neither 1 to 8 nor 32");
  expect_error(shape_error(replaced(good, "labels = 2", "labels = 2\nlabel_names = [\"a\"]")), 10, "1 names for labels = 2");
  EXPECT_NE(shape_error("name = \"x\"\n").find("key 'layers' is missing"), std::string::npos);
  EXPECT_NE(shape_error("").find("key 'name' is missing"), std::string::npos);
}

TEST_F(ConfigFile, MistakesInAPlatformAreNamed) {
  const std::string board = read_file(kConfigs + "platforms/sti-board.toml");
  expect_error(platform_error(replaced(board, "\"35 ms\", ", "")), 27, "layer has 9 times for 10 entries of slices");
  expect_error(platform_error(replaced(board, "\"35 ms\"", "\"35\"")), 27, "layer: '35' has no unit");
  expect_error(platform_error(replaced(board, "kind = \"cpu\"", "kind = \"tpu\"")), 18, "unknown kind of device 'tpu'");
  expect_error(platform_error(replaced(board, "name = \"cpu0\"", "name = \"disk0\"")), 17, "two devices named 'disk0'");
  expect_error(platform_error(replaced(board, "[device.table]", "[device.storage]")), 18, "[device.table]");
  expect_error(platform_error(replaced(board, "piece_bytes", "# ")), 9, "either bandwidth");
  EXPECT_NE(platform_error("name = \"empty\"\n").find("no device of kind \"storage\""), std::string::npos);
}

TEST_F(ConfigFile, BrokenTomlIsNamedWithItsLine) {
  expect_error(shape_error("name = \"x\"\nlayers = = 3\n"), 2, "");
  EXPECT_FALSE(shape_error(std::string("name = \"\0\xff\"", 12)).empty());
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "[";
  EXPECT_FALSE(shape_error("name = " + deep).empty());
}

TEST_F(ConfigFile, AFileThatCannotBeReadIsNamed) {
  const auto missing = load_shape("/nonexistent/shape.toml");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kData);
  EXPECT_NE(missing.error().message.find("/nonexistent/shape.toml: No such file"), std::string::npos)
      << missing.error().message;
  EXPECT_FALSE(load_shape("/").ok());
  EXPECT_NE(shape_error(std::string((1 << 20) + 1, '#')).find("larger than 1 MiB"), std::string::npos);
}

}  // namespace
}  // namespace tessera
