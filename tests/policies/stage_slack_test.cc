// That the slack of stages says what following them anew says, and that less room never makes it earlier.
#include "policies/parts/stage_slack.h"

#include <gtest/gtest.h>

#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

struct Pipeline {
  StageTimes times;
  double ends = 0;
  std::vector<StageLoad> layers;
};

Pipeline random_pipeline(Random& random) {
  Pipeline out;
  out.times.rows = static_cast<double>(random.between(0, 9));
  out.times.embed = static_cast<double>(random.between(0, 9));
  out.times.exit_load = static_cast<double>(random.between(0, 5));
  if (!random.one_in(3)) out.times.room = static_cast<double>(random.between(20, 120));
  const int64_t depth = random.between(1, 7);
  for (int64_t k = 0; k < depth; ++k) {
    StageLoad layer;
    layer.bytes = static_cast<double>(random.between(0, 20));
    layer.io = layer.bytes + static_cast<double>(random.between(0, 3));
    layer.compute = static_cast<double>(random.between(0, 30));
    out.layers.push_back(layer);
  }
  out.ends = static_cast<double>(random.between(40, 250));
  return out;
}

// By the equations in the header, with no memory of what was before.
double lateness(const Pipeline& p) {
  std::vector<double> end;
  double loaded = p.times.rows, last = p.times.rows + p.times.embed;
  for (size_t k = 0; k <= p.layers.size(); ++k) {
    const StageLoad now = k < p.layers.size() ? p.layers[k] : StageLoad{p.times.exit_load, 0, 0};
    loaded += now.io;
    double start = std::max(last, loaded);
    for (size_t j = 0; j < k; ++j) {
      double bytes = now.bytes;
      for (size_t i = j; i < k; ++i) bytes += p.layers[i].bytes;
      start = std::max(start, end[j] + bytes - p.times.room);
    }
    last = start + now.compute;
    end.push_back(last);
  }
  return last - p.ends;
}

TEST(StageSlack, IsAsLateAsItsEquations) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const Pipeline p = random_pipeline(random);
    ASSERT_DOUBLE_EQ(StageSlack(p.times, p.ends, p.layers).lateness(), lateness(p)) << "pipeline " << i;
  }
}

TEST(StageSlack, HoldsWhatWouldBeInTimeAndNothingElse) {
  Random random(2);
  int held = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    Pipeline p = random_pipeline(random);
    StageSlack slack(p.times, p.ends, p.layers);
    if (slack.lateness() > 0) continue;
    const int layer = static_cast<int>(random.between(0, static_cast<int64_t>(p.layers.size()) - 1));
    StageLoad more;
    more.bytes = static_cast<double>(random.between(-5, 15));
    more.io = more.bytes;
    more.compute = static_cast<double>(random.between(-5, 15));
    StageLoad& now = p.layers[static_cast<size_t>(layer)];
    if (now.bytes + more.bytes < 0 || now.compute + more.compute < 0) continue;
    now = {now.io + more.io, now.bytes + more.bytes, now.compute + more.compute};
    const bool fits = more.bytes <= 0 || now.bytes <= p.times.room;
    const bool holds = slack.holds(layer, more);
    ASSERT_EQ(holds, fits && lateness(p) <= 0) << "pipeline " << i;
    (holds ? held : refused) += 1;
    slack.charge(layer, more);
    ASSERT_DOUBLE_EQ(slack.lateness(), lateness(p)) << "pipeline " << i;
  }
  EXPECT_GT(held, 1000);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace tessera::testing
