// Cells of a tournament: their order, their names, how ranks share them, and what is refused.
#include "scheduler/experiment.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/registry.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;

Contender contender(const std::string& policy, const Knobs& knobs = {}) {
  Contender out;
  out.policy = policy;
  out.knobs = knobs;
  out.label = default_label(out);
  return out;
}

Experiment small() {
  register_policies();
  Experiment e;
  e.contenders = {contender("sti"), contender("std-pipeline")};
  Arena arena;
  arena.name = arena.platform = "board.toml";
  arena.latencies = {milliseconds(10), milliseconds(20)};
  arena.memories = {mib(8), mib(16), kUnlimited};
  arena.preloads = {Bytes{0}, mib(1)};
  e.arenas = {arena};
  e.seeds = {1, 2};
  return e;
}

Ingredients named(const Experiment& e) {
  Ingredients out;
  out.program = "build 1";
  out.arenas.assign(e.arenas.size(), "a");
  out.workloads.assign(e.workloads.size(), "");
  out.contenders.assign(e.contenders.size(), "built in");
  return out;
}

TEST(Experiment, HasOneCellForEveryCombination) {
  const std::vector<Cell> cells = cells_of(small());
  ASSERT_EQ(cells.size(), 2U * 3 * 2 * 2 * 2);
  std::set<std::string> ids;
  for (size_t i = 0; i < cells.size(); ++i) {
    EXPECT_EQ(cells[i].index, i);
    EXPECT_EQ(cells[i].group, i / 2);
    ids.insert(cell_id(small(), named(small()), cells[i]));
  }
  EXPECT_EQ(ids.size(), cells.size());
}

TEST(Experiment, AContenderWithItsOwnPreloadPlaysOnce) {
  Experiment e = small();
  e.contenders[1].preload = mib(4);
  int64_t own = 0;
  for (const Cell& cell : cells_of(e)) {
    if (cell.contender != 1) continue;
    EXPECT_EQ(cell.preload, mib(4));
    EXPECT_EQ(cell.shared_preload, Bytes{0});
    ++own;
  }
  EXPECT_EQ(own, 2 * 3 * 2);
}

TEST(Experiment, ACellIsNamedByAllThatItDependsOn) {
  const Experiment plain = small();
  const Cell cell = cells_of(plain)[5];
  const std::string id = cell_id(plain, named(plain), cell);
  EXPECT_EQ(id.size(), 16U);
  EXPECT_EQ(id, cell_id(plain, named(plain), cell));
  std::set<std::string> ids{id};
  const auto differs = [&](const Experiment& e, const Ingredients& i, const Cell& c) {
    EXPECT_TRUE(ids.insert(cell_id(e, i, c)).second);
  };
  for (const auto change :
       {+[](Experiment& e) { e.tokens = 7; }, +[](Experiment& e) { e.quantile = 0.5; },
        +[](Experiment& e) { e.repetitions = 3; }, +[](Experiment& e) { e.best_effort = true; },
        +[](Experiment& e) { e.contenders[1].knobs["a"] = "b"; }, +[](Experiment& e) { e.contenders[1].bits = Bits{2}; },
        +[](Experiment& e) { e.arenas[0].io_speed = 2; }}) {
    Experiment e = plain;
    change(e);
    differs(e, named(e), cell);
  }
  for (const auto change : {+[](Ingredients& i) { i.program = "build 2"; }, +[](Ingredients& i) { i.data = "d"; },
                            +[](Ingredients& i) { i.arenas[0] = "b"; }, +[](Ingredients& i) { i.workloads[0] = "w"; },
                            +[](Ingredients& i) { i.contenders[1] = "plug-in"; }}) {
    Ingredients i = named(plain);
    change(i);
    differs(plain, i, cell);
  }
  for (const auto change :
       {+[](Cell& c) { c.latency.ns += 1; }, +[](Cell& c) { c.memory.n -= 1; }, +[](Cell& c) { c.preload.n += 1; },
        +[](Cell& c) { c.seed = 9; }, +[](Cell& c) { c.contender = 0; }}) {
    Cell c = cell;
    change(c);
    differs(plain, named(plain), c);
  }
  // What ends a worker says nothing about rows that were answered.
  Experiment limited = plain;
  limited.decide_limit = milliseconds(1);
  limited.worker_memory = mib(300);
  EXPECT_EQ(cell_id(limited, named(limited), cell), id);
}

TEST(Experiment, RanksShareAllCellsAndKeepGroupsWhole) {
  const Experiment e = small();
  for (const int count : {1, 2, 3, 7, 24, 25, 100}) {
    std::set<size_t> seen;
    for (int index = 0; index < count; ++index) {
      std::set<size_t> groups;
      for (const Cell& cell : cells_of_shard(e, {index, count})) {
        EXPECT_TRUE(seen.insert(cell.index).second);
        groups.insert(cell.group);
      }
      if (count <= 24) { EXPECT_EQ(cells_of_shard(e, {index, count}).size(), groups.size() * 2); }
    }
    EXPECT_EQ(seen.size(), cells_of(e).size());
  }
}

TEST(Experiment, LabelsTellHowAContenderIsSet) {
  Contender c = contender("sti", {{"pass1", "lowest"}});
  c.bits = Bits{6};
  EXPECT_EQ(default_label(c), "sti(bits=6,pass1=lowest)");
  EXPECT_EQ(default_label(contender("sti")), "sti");
}

TEST(Experiment, RefusesWhatCannotBePlayed) {
  const auto refused = [](const auto& change) {
    Experiment e = small();
    change(e);
    const Status status = check_experiment(e);
    EXPECT_FALSE(status.ok());
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_TRUE(check_experiment(small()).ok());
  EXPECT_THAT(refused([](Experiment& e) { e.contenders.clear(); }), HasSubstr("nobody competes"));
  EXPECT_THAT(refused([](Experiment& e) { e.contenders[0].policy = "stj"; }), HasSubstr("did you mean 'sti'"));
  EXPECT_THAT(refused([](Experiment& e) { e.contenders[0].knobs["pas1"] = "x"; }), HasSubstr("pass1"));
  EXPECT_THAT(refused([](Experiment& e) { e.contenders[1] = e.contenders[0]; }), HasSubstr("two contenders"));
  EXPECT_THAT(refused([](Experiment& e) { e.arenas.push_back(e.arenas[0]); }), HasSubstr("two platforms"));
  EXPECT_THAT(refused([](Experiment& e) { e.arenas[0].latencies.clear(); }), HasSubstr("at least one latency"));
  EXPECT_THAT(refused([](Experiment& e) { e.seeds = {1, 1}; }), HasSubstr("seed"));
  EXPECT_THAT(refused([](Experiment& e) { e.quantile = 1; }), HasSubstr("quantile"));
  EXPECT_THAT(refused([](Experiment& e) { e.repetitions = 0; }), HasSubstr("repetitions"));
  EXPECT_THAT(refused([](Experiment& e) { e.reference = "optimum"; }),
              HasSubstr("unknown reference 'optimum'; did you mean"));
  EXPECT_THAT(refused([](Experiment& e) { e.decide_limit = {}; }), HasSubstr("decide_limit"));
  EXPECT_THAT(refused([](Experiment& e) { e.worker_memory = mib(255); }), HasSubstr("at least 256.0 MiB"));
  EXPECT_THAT(refused([](Experiment& e) { e.baseline = "stii"; }), HasSubstr("did you mean 'sti'"));
  EXPECT_THAT(refused([](Experiment& e) {
                e.seeds.clear();
                for (uint64_t s = 0; s < 50'000; ++s) e.seeds.push_back(s);
              }),
              HasSubstr("split the experiment"));
}

TEST(Experiment, ListsWhoseProductWrapsAroundAreTooMany) {
  Experiment e = small();
  Arena& arena = e.arenas[0];
  arena.latencies.clear();
  arena.memories.clear();
  arena.preloads.clear();
  e.seeds.clear();
  for (int i = 1; i <= 1 << 16; ++i) {  // to the fourth: 2^64
    arena.latencies.push_back(milliseconds(i));
    arena.memories.push_back(kib(i));
    arena.preloads.push_back(Bytes{i});
    e.seeds.push_back(static_cast<uint64_t>(i));
  }
  const Status status = check_experiment(e);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("split the experiment"));
}

}  // namespace
}  // namespace tessera::testing
