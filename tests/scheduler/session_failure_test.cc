// Breaks stores, requests and policies: each error names its object, and the session answers the next request.
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "session_rig.h"

namespace tessera {
namespace {

using testing::plain_plan;
using testing::Rig;
using testing::Script;
using testing::script_plain;
using testing::scripted;

const std::vector<int32_t> kIds = {2, 7, 11, 3};

// Damages one byte of an extent in its file; undone by the next call with the same place.
void flip(const Extent& extent, int64_t at) {
  std::fstream file(std::string(extent.file), std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file.good()) << extent.file;
  char byte = 0;
  file.seekg(extent.offset + at);
  file.get(byte);
  file.seekp(extent.offset + at);
  file.put(static_cast<char>(byte ^ 0x20));
}

void expect_error(const Result<Answer>& got, ErrorCode code, const std::vector<std::string>& parts) {
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, code) << got.error().message;
  for (const std::string& part : parts) EXPECT_NE(got.error().message.find(part), std::string::npos) << got.error().message;
}

TEST(SessionFailure, ADamagedShardIsNamedAndTheSessionGoesOn) {
  Rig rig;
  const Extent damaged = rig.tiny.store->shard({1, 2}, 4);
  flip(damaged, 100);
  script_plain(2, 3, 4);
  expect_error(rig.run(scripted(), kIds), ErrorCode::kData, {std::string(damaged.file), std::to_string(damaged.offset)});
  const Bytes held = rig.session->held();
  EXPECT_EQ(held, rig.tiny.store->shape().resident_bytes);
  flip(damaged, 100);  // whole again
  const auto answer = rig.run(scripted(), kIds);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  testing::expect_logits(answer->logits, testing::reference_logits(*rig.tiny.store, answer->planned->plan, kIds), 2e-4);
}

TEST(SessionFailure, ADamagedShardSpoilsAPreloadButNotTheSession) {
  Rig rig;
  const Extent damaged = rig.tiny.store->shard({1, 0}, 4);
  flip(damaged, 1);
  Script::now().preload = [](const PlanningView&) -> Result<Residency> {
    return Residency{{{{0, 0}, 4, false, {}}, {{1, 0}, 4, false, {}}}, {}};
  };
  const Status failed = rig.session->preload(scripted(), 4);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kData);
  EXPECT_EQ(rig.session->residency().shards.size(), 1u);  // what came before it
  script_plain(2, 3, 2);
  EXPECT_TRUE(rig.run(scripted(), kIds).ok());
}

TEST(SessionFailure, AFileThatIsTruncatedAfterOpeningIsAnErrorNotASignal) {
  Rig rig;
  const Extent last = rig.tiny.store->shard({1, 3}, kExact);
  std::filesystem::resize_file(std::string(last.file), static_cast<uintmax_t>(last.offset + 4096));
  script_plain(2, 4, kExact);
  expect_error(rig.run(scripted(), kIds), ErrorCode::kData, {std::string(last.file)});
  script_plain(1, 1, 2);
  RequestOptions other = scripted();
  other.seed = 1;
  const auto next = rig.run(other, kIds);
  // The small plan's extents may lie in the same file, before the cut or behind it.
  if (!next.ok()) { EXPECT_EQ(next.error().code, ErrorCode::kData); }
}

TEST(SessionFailure, ACancelledRequestEndsAsSuchAndTheNextOneRuns) {
  Rig rig;
  Script::now().decide = [&rig](const PlanningView& view) -> Result<Decision> {
    rig.session->cancel();  // as a signal would, while the request is under way
    return Decision{plain_plan(view.shape, 2, 4, 4, view.residency)};
  };
  expect_error(rig.run(scripted(), kIds), ErrorCode::kCancelled, {});
  rig.session->cancel();  // nothing runs: nothing to interrupt
  script_plain(2, 4, 4);
  EXPECT_TRUE(rig.run(scripted(), kIds).ok());
}

TEST(SessionFailure, APlanBeyondTheMemoryBudgetIsThePolicysError) {
  Rig rig;
  script_plain(2, 4, kExact);
  RequestOptions options = scripted();
  options.budgets.memory = rig.tiny.store->shape().resident_bytes + kib(12);  // not even the rows
  expect_error(rig.run(options, kIds), ErrorCode::kInternal, {"policy scripted", "illegal plan"});
  script_plain(2, 4, kExact);
  EXPECT_TRUE(rig.run(scripted(), kIds).ok());
}

TEST(SessionFailure, RequestsThatMakeNoSenseAreRefused) {
  Rig rig;
  script_plain(1, 1, 2);
  expect_error(rig.run(scripted(), {}), ErrorCode::kInvalid, {"0 tokens"});
  expect_error(rig.run(scripted(), std::vector<int32_t>(33, 2)), ErrorCode::kInvalid, {"33 tokens", "32"});
  expect_error(rig.run(scripted(), {2, 50}), ErrorCode::kInvalid, {"token 1 has id 50", "50"});
  expect_error(rig.run(scripted(), {-1}), ErrorCode::kInvalid, {"-1"});
  expect_error(rig.session->run(scripted(), {2, 3}, {0, 2}), ErrorCode::kInvalid, {"type 2"});
  expect_error(rig.session->run(scripted(), {2, 3}, {0}), ErrorCode::kInvalid, {"2 ids, but 1 types"});
  RequestOptions options = scripted();
  options.depth = 9;
  expect_error(rig.run(options, kIds), ErrorCode::kInvalid, {"depth 9"});
  options = scripted();
  options.width = 5;
  expect_error(rig.run(options, kIds), ErrorCode::kInvalid, {"width 5"});
  options = scripted();
  options.bits = 7;
  expect_error(rig.run(options, kIds), ErrorCode::kInvalid, {"7 bits"});
  options = scripted();
  options.quantile = 1;
  expect_error(rig.run(options, kIds), ErrorCode::kInvalid, {"quantile"});
  options = scripted();
  options.policy = "scriptde";
  expect_error(rig.run(options, kIds), ErrorCode::kInvalid, {"scriptde", "scripted"});
  EXPECT_TRUE(rig.run(scripted(), kIds).ok());
}

TEST(SessionFailure, WithoutWeightsASessionPlansButDoesNotRun) {
  testing::register_all();
  testing::TinyStore tiny = testing::make_tiny_store();
  Machine machine = testing::machine_for(tiny.store->shape());
  const AccuracyModel accuracy;
  auto session = Session::open(tiny.store->shape(), nullptr, accuracy, machine, {});
  ASSERT_TRUE(session.ok()) << session.error().message;
  script_plain(1, 1, 2);
  EXPECT_TRUE((*session)->plan(scripted(), 5).ok());
  const auto answer = (*session)->run(scripted(), {2, 3}, {0, 0});
  expect_error(answer, ErrorCode::kInvalid, {"no weights"});
}

TEST(SessionFailure, OpeningNeedsStorageAndADeviceThatComputes) {
  testing::register_all();
  const ModelShape shape = testing::plain_shape();
  const AccuracyModel accuracy;
  Machine machine;
  machine.virtual_time = true;
  machine.platform = testing::plain_platform(0);
  auto got = Session::open(shape, nullptr, accuracy, machine, {});
  ASSERT_FALSE(got.ok());
  EXPECT_NE(got.error().message.find("no cost models"), std::string::npos);
  machine.costs = std::make_shared<CostBook>();
  got = Session::open(shape, nullptr, accuracy, machine, {});
  ASSERT_FALSE(got.ok());
  EXPECT_NE(got.error().message.find("no device computes"), std::string::npos);
  machine.platform.devices.clear();
  got = Session::open(shape, nullptr, accuracy, machine, {});
  ASSERT_FALSE(got.ok());
  EXPECT_NE(got.error().message.find("no storage device"), std::string::npos);
}

}  // namespace
}  // namespace tessera
