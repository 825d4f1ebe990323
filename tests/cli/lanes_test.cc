// Lanes drawn from traces made by hand.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/eval_metrics.h"
#include "tools/render_lanes.h"
#include "tools/render_run.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

TraceEvent event(DeviceId device, Op op, int layer, Bits bits, int64_t start_ms, int64_t end_ms) {
  TraceEvent e;
  e.device = device;
  e.op = op;
  e.layer = layer;
  e.bits = bits;
  e.predicted_start = milliseconds(start_ms);
  e.predicted_end = milliseconds(end_ms);
  e.measured_start = e.predicted_start;
  e.measured_end = e.predicted_end;
  e.state = TaskState::kDone;
  return e;
}

// 40 columns of time: 60 columns less what names the lanes.
std::string draw(const std::vector<TraceEvent>& events, bool measured = false, Duration offset = {}) {
  Trace trace;
  trace.devices = {"disk0", "cpu0"};
  trace.events = events;
  LaneView view;
  view.trace = &trace;
  view.measured = measured;
  view.offset = offset;
  view.columns = 60;
  return render_lanes(view, Painter(false));
}

TEST(Lanes, AreEmptyForAnEmptyTrace) { EXPECT_EQ(draw({}), ""); }

TEST(Lanes, HeightTellsBitsAndDigitsTellLayers) {
  EXPECT_THAT(draw({event(0, Op::kLoadShards, 0, 2, 0, 20), event(0, Op::kLoadShards, 1, 6, 20, 40)}),
              HasSubstr("0▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂1▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆"));
}

TEST(Lanes, ExactLoadsAreFullBlocks) { EXPECT_THAT(draw({event(0, Op::kLoadShards, 0, kExact, 0, 40)}), HasSubstr("0███")); }

TEST(Lanes, IdleTimeIsDotted) {
  EXPECT_THAT(draw({event(1, Op::kLayer, 0, 0, 20, 40)}), HasSubstr("····················0███████████████████"));
}

TEST(Lanes, AShortTaskKeepsTheCellItStartsIn) {
  EXPECT_THAT(draw({event(1, Op::kEmbed, -1, 0, 0, 0), event(1, Op::kLayer, 0, 0, 10, 40)}), HasSubstr("e·········0██"));
}

TEST(Lanes, MeasuredLanesStartAfterPlanning) {
  const std::string drawn = draw({event(1, Op::kLayer, 0, 0, 0, 20)}, true, milliseconds(20));
  EXPECT_THAT(drawn, HasSubstr("0███████████████████····················"));
  EXPECT_THAT(drawn, HasSubstr("····················0███████████████████"));
}

TEST(Lanes, ManyDigitsNeedTheirRoom) { EXPECT_THAT(draw({event(1, Op::kLayer, 23, 0, 0, 40)}), HasSubstr("23████")); }

TEST(Lanes, LoadsOfOneLayerThatFollowShowItOnce) {
  EXPECT_THAT(draw({event(0, Op::kLoadShards, 0, 6, 0, 1), event(0, Op::kLoadShards, 0, kExact, 1, 20),
                    event(0, Op::kLoadShards, 1, 6, 20, 39), event(0, Op::kLoadShards, 1, kExact, 39, 40)}),
              HasSubstr("0███████████████████1▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆█"));
}

TEST(Head, BreaksWhereTheTerminalIsNarrow) {
  ModelShape shape;
  shape.name = "model";
  const auto head = [&](int columns) {
    return render_head(shape, {}, {milliseconds(20), mib(8), {}}, "sti", true, columns, Painter(false));
  };
  const int whole = cells(head(1000)) - 1;  // less the end of its line
  EXPECT_THAT(head(whole), HasSubstr("; budgets 20.0 ms and 8.0 MiB; policy sti\n"));
  EXPECT_THAT(head(whole - 1), HasSubstr(";\n  budgets 20.0 ms and 8.0 MiB; policy sti\n"));
}

TEST(Process, KeepsWithinTheColumns) {
  FirstAnswer first;
  first.total = milliseconds(1000);
  first.process = first.open = first.plan = first.io = first.compute = milliseconds(123);
  for (const int columns : {70, 80, 100}) {
    std::istringstream lines(render_process(first, milliseconds(100), mib(20), columns, Painter(false)));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(cells(line), columns) << line;
  }
}

TEST(Cells, CountWideAndCombiningCharacters) {
  EXPECT_EQ(cells("abc"), 3);
  EXPECT_EQ(cells("漢字"), 4);
  EXPECT_EQ(cells("e\xCC\x81"), 1);
  EXPECT_EQ(cells("\xff"), 1);
}

TEST(Printable, CutsAndReplacesControlCharacters) {
  EXPECT_EQ(printable("hello", 5), "hello");
  EXPECT_EQ(printable("hello world", 8), "hello...");
  EXPECT_EQ(printable("a\x1b[31mb", 20), "a\xEF\xBF\xBD[31mb");
}

TEST(Percentile, IsAlwaysOneOfTheValues) {
  std::vector<double> values{3, 1, 2};
  EXPECT_EQ(percentile(values, 0.5), 2);
  EXPECT_EQ(percentile(values, 0.99), 3);
  EXPECT_EQ(percentile(values, 0.0), 1);
  std::vector<double> none;
  EXPECT_EQ(percentile(none, 0.5), 0);
}

TEST(Confusion, KnowsPerfectAndUselessPredictors) {
  Confusion perfect(2), constant(2);
  for (const int label : {0, 1, 1, 0}) {
    perfect.add(label, label);
    constant.add(label, 1);
  }
  EXPECT_EQ(perfect.accuracy(), 1.0);
  EXPECT_EQ(*perfect.matthews(), 1.0);
  EXPECT_EQ(constant.accuracy(), 0.5);
  EXPECT_FALSE(constant.matthews().has_value());
  EXPECT_NEAR(*constant.f1(), 2.0 / 3.0, 1e-12);
}

TEST(Infeasible, NearestBudgetsAreRoundedUp) {
  Infeasible infeasible;
  infeasible.latency = microseconds(3121);
  infeasible.memory = Bytes{2'000'001};
  infeasible.both_latency = milliseconds(4);
  infeasible.both_memory = kib(3);
  const std::string text = infeasible_message(infeasible, {milliseconds(1), mib(1), {}});
  EXPECT_THAT(text, HasSubstr("--latency 3.13ms"));
  EXPECT_THAT(text, HasSubstr("--memory 1.91MiB"));
  EXPECT_THAT(text, HasSubstr("--latency 4.00ms --memory 3KiB"));
}

}  // namespace
}  // namespace tessera
