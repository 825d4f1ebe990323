// Tests what every room stands on: units, shapes, plans, platforms, names.
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <variant>

#include <gtest/gtest.h>

#include "framework/plan.h"
#include "framework/registry.h"
#include "framework/trace.h"
#include "tests/framework/graphs.h"

namespace tessera {
namespace {

TEST(Units, RoundHalvesUpAndSaturate) {
  EXPECT_EQ(from_seconds(1.5e-9), nanoseconds(2));
  EXPECT_EQ(from_seconds(-1.5e-9), nanoseconds(-1));
  EXPECT_EQ(from_ms(0.0000004), nanoseconds(0));
  EXPECT_EQ(from_seconds(1e300), kForever);
  EXPECT_EQ(from_seconds(std::numeric_limits<double>::quiet_NaN()), kForever);
  EXPECT_EQ(from_seconds(-1e300).ns, -INT64_MAX);
  EXPECT_EQ(to_micro(0.905).n, 905'000);
}

// What a policy writes: `return plan;`, `return Infeasible{...};`.
TEST(Result, TakesWhatConvertsToItsValue) {
  using Either = std::variant<Plan, std::string>;
  const auto plan = [](int depth) -> Result<Either> {
    Plan made;
    made.depth = depth;
    return made;
  };
  const auto text = []() -> Result<Either> { return "no plan"; };
  const auto error = []() -> Result<Either> { return Error{ErrorCode::kInvalid, "no such knob"}; };
  EXPECT_EQ(std::get<Plan>(*plan(3)).depth, 3);
  EXPECT_EQ(std::get<std::string>(*text()), "no plan");
  EXPECT_EQ(error().error().message, "no such knob");
  static_assert(!std::is_convertible_v<Result<Plan>, Result<Either>>);  // nor an error into a value
  static_assert(!std::is_convertible_v<Status, Result<bool>>);
}

TEST(Units, PrintForPeople) {
  EXPECT_EQ(to_string(nanoseconds(350)), "350 ns");
  EXPECT_EQ(to_string(microseconds(940)), "940 us");
  EXPECT_EQ(to_string(nanoseconds(999'600)), "1.00 ms");
  EXPECT_EQ(to_string(microseconds(18'200)), "18.2 ms");
  EXPECT_EQ(to_string(milliseconds(1'300)), "1300 ms");
  EXPECT_EQ(to_string(milliseconds(12'000)), "12.0 s");
  EXPECT_EQ(to_string(kForever), "forever");
  EXPECT_EQ(to_string(Bytes{512}), "512 B");
  EXPECT_EQ(to_string(Bytes{7'444'890}), "7.1 MiB");
  EXPECT_EQ(to_string(Bytes{(1 << 20) - 1}), "1.0 MiB");
  EXPECT_EQ(to_string(Bytes{-2048}), "-2.0 KiB");
  EXPECT_EQ(to_string(kUnlimited), "unlimited");
  EXPECT_EQ(to_string(BytesPerSecond{83e6}), "83.0 MB/s");
}

TEST(ModelShape, KnowsOnlyTheVersionsThatTheStoreHolds) {
  ModelShape shape;
  shape.layers = 2, shape.slices = 2, shape.hidden = 8, shape.heads = 2, shape.ffn = 16;
  shape.bitwidths = {2, kExact};
  shape.depths = {1, 2}, shape.widths = {2};
  shape.shard_bytes.resize(2 * 2 * kBitsLevels);
  shape.shard_bytes[3 * kBitsLevels + bits_level(2)] = Bytes{4096};
  EXPECT_EQ(shape.shard_weights(), 4 * 8 * 4 + 2 * 8 * 8);
  EXPECT_EQ(shape.bytes_of({1, 1}, 2), Bytes{4096});
  EXPECT_EQ(shape.bytes_of({1, 1}, 3), Bytes{0});
  EXPECT_EQ(shape.bytes_of({2, 0}, 2), Bytes{0});
  EXPECT_EQ(shape.bytes_of({-1, 0}, 2), Bytes{0});
  EXPECT_EQ(shape.bytes_of({0, 0}, 200), Bytes{0});
  EXPECT_TRUE(shape.has_bits(kExact) && !shape.has_bits(6));
  EXPECT_TRUE(shape.legal_depth(2) && !shape.legal_depth(3) && shape.legal_width(2) && !shape.legal_width(1));
}

TEST(Plan, CountsOnlyWhatIsPresent) {
  Plan plan;
  plan.depth = 2, plan.slices = 3;
  plan.bits = {2, 0, 6, 0, kExact, 0};
  EXPECT_EQ(plan.slice_set(0), 0b101u);
  EXPECT_EQ(plan.slice_set(1), 0b010u);
  EXPECT_EQ(plan.width(), 2);
  EXPECT_DOUBLE_EQ(plan.mean_bits(), (2 + 6 + 32) / 3.0);
  EXPECT_EQ(Plan{}.mean_bits(), 0);
}

TEST(Residency, FindsShardsById) {
  Residency held;
  held.shards = {{{0, 1}, 2, false, Bytes{10}}, {{0, 3}, 6, false, Bytes{20}}, {{2, 0}, 2, true, Bytes{30}}};
  ASSERT_NE(held.find({0, 3}), nullptr);
  EXPECT_EQ(held.find({0, 3})->bits, 6);
  EXPECT_EQ(held.find({0, 2}), nullptr);
  EXPECT_EQ(held.find({9, 9}), nullptr);
  EXPECT_EQ(held.total(), Bytes{60});
}

TEST(Platform, PicksTheFirstDeviceThatIsThere) {
  Platform platform;
  platform.devices.resize(3);
  platform.devices[0].name = "null0", platform.devices[0].available = false;
  platform.devices[1].name = "disk0", platform.devices[1].kind = DeviceKind::kStorage;
  platform.devices[2].name = "cpu0";
  EXPECT_EQ(platform.first(DeviceKind::kCpu), DeviceId{2});
  EXPECT_EQ(platform.find("disk0"), DeviceId{1});
  EXPECT_FALSE(platform.find("gpu0") || platform.first(DeviceKind::kGpu));
}

TEST(UnknownName, SuggestsTheNearest) {
  const std::vector<std::string> known = {"load-exec", "preload", "sti"};
  EXPECT_EQ(unknown_name("policy", "stj", known),
            "unknown policy 'stj'; did you mean 'sti'? known: load-exec, preload, sti");
  EXPECT_EQ(unknown_name("policy", "loadexec", known),
            "unknown policy 'loadexec'; did you mean 'load-exec'? known: load-exec, preload, sti");
  EXPECT_EQ(unknown_name("policy", "zzzzzzz", known), "unknown policy 'zzzzzzz'; known: load-exec, preload, sti");
  EXPECT_EQ(unknown_name("policy", "", {}), "unknown policy ''; none is known");
  EXPECT_EQ(unknown_name("flag", "--memory", {"--memories"}),
            "unknown flag '--memory'; did you mean '--memories'? known: --memories");
}

TEST(Trace, PutsPredictedBesideMeasured) {
  const TaskGraph graph = make_graph({{0, 5}, {1, 7, {0}}});
  Platform platform;
  platform.devices.resize(2);
  platform.devices[0].name = "disk0", platform.devices[1].name = "cpu0";
  RunReport report;
  report.tasks = {{nanoseconds(1), nanoseconds(6), TaskState::kDone}, {nanoseconds(6), nanoseconds(15), TaskState::kFailed}};
  const Trace trace = make_trace(graph, platform, {{0}, {5}}, {{5}, {12}}, report);
  EXPECT_EQ(trace.devices, (std::vector<std::string>{"disk0", "cpu0"}));
  ASSERT_EQ(trace.events.size(), 2u);
  EXPECT_EQ(trace.events[1].predicted_end, nanoseconds(12));
  EXPECT_EQ(trace.events[1].measured_end, nanoseconds(15));
  EXPECT_EQ(trace.events[1].state, TaskState::kFailed);
  EXPECT_EQ(trace.events[1].device, 1);
}

}  // namespace
}  // namespace tessera
