"""Fronts, corrections, regret and differences, against figures made by hand."""

import support  # noqa: F401  isort: skip

import tempfile
import unittest
from pathlib import Path

import synthetic

MIB = 1 << 20


def row(label, latency, **more):
    return {**synthetic.one_row("board", label, latency, 8 * MIB, 1), "feasible": True, **more}


def results_of(rows, **document):
    from results import read_results

    with tempfile.TemporaryDirectory() as directory:
        path = synthetic.write(
            Path(directory),
            {"tessera": "1", "experiment": {"baseline": "sti", "reference": "optimal"}, "rows": rows, **document},
        )
        return read_results(path)


class Front(unittest.TestCase):
    def test_holds_what_nothing_cheaper_reaches(self):
        from pareto import front

        self.assertEqual(front([(3, 0.9), (1, 0.5), (2, 0.7), (2.5, 0.6), (4, 0.9), (2, 0.65)]), [1, 2, 0])

    def test_holds_the_first_of_equal_points(self):
        from pareto import front

        self.assertEqual(front([(1, 1), (1, 1), (1, 0.5)]), [0])

    def test_is_empty_without_points(self):
        from pareto import front

        self.assertEqual(front([]), [])

    def test_of_a_panel_is_drawn_through_measured_points(self):
        from fronts import Point, _steps

        points = [Point(1, 50, None, None), Point(2, 40, None, None), Point(3, 60, None, None)]
        self.assertEqual(_steps(points), ([1, 3], [50, 60]))


class Holm(unittest.TestCase):
    def test_steps_down(self):
        from significance import holm

        got = holm([0.01, 0.04, 0.03, None, 0.005])
        for value, want in zip(got, [0.03, 0.06, 0.06, None, 0.02]):
            self.assertEqual(value, want) if want is None else self.assertAlmostEqual(value, want)

    def test_never_exceeds_one(self):
        from significance import holm

        self.assertEqual(holm([0.9, 0.8]), [1.0, 1.0])

    def test_makes_the_better_one_of_a_pair_be_chance(self):
        from pairs import read_pairs

        pair = {
            "platform": "board",
            "workload": None,
            "latency_ms": 10,
            "memory_bytes": MIB,
            "n": 872,
            "a": "elastic",
            "b": "sti",
        }
        # 16 against 4: p = 0.0118, alone significant, not among five.
        strong = {**pair, "only_a_right": 16, "only_b_right": 4}
        self.assertEqual([p.better for p in read_pairs(results_of([], pairs=[strong]))], ["elastic"])
        among = read_pairs(results_of([], pairs=[strong] + [{**pair, "only_a_right": 5, "only_b_right": 5}] * 4))
        self.assertEqual([p.better for p in among], [""] * 5)
        self.assertAlmostEqual(among[0].p, 0.0118179, places=6)
        self.assertAlmostEqual(among[0].adjusted, 5 * 0.0118179, places=5)
        self.assertAlmostEqual(among[0].difference, 100 * 12 / 872)

    def test_counts_the_same_plans_under_other_budgets_once(self):
        from pairs import read_pairs

        rows = [
            row(label, latency, accuracy_key=key)
            for latency in (10, 20, 30)
            for label, key in (("sti", "k1"), ("elastic", "k2"))
        ]
        found = [
            {
                "platform": "board",
                "workload": None,
                "latency_ms": latency,
                "memory_bytes": 8 * MIB,
                "seed": 1,
                "n": 872,
                "a": "elastic",
                "b": "sti",
                "only_a_right": 16,
                "only_b_right": 4,
            }
            for latency in (10, 20, 30)
        ]
        equal = {**found[0], "b": "knapsack", "only_a_right": 0, "only_b_right": 0}
        pairs = read_pairs(results_of(rows, pairs=found + [equal]))
        self.assertEqual([pair.better for pair in pairs], ["elastic"] * 3 + [""])
        self.assertEqual([pair.tests for pair in pairs], [1] * 4)
        self.assertEqual(pairs[3].verdict, "same answers")


class Regret(unittest.TestCase):
    def rows(self):
        made = []
        for latency, of in (
            (100, {"sti": 2.0, "elastic": 0.5, "optimal": 0.1}),
            (200, {"sti": 1.1, "elastic": 0.2, "optimal": 0.1}),
        ):
            made += [
                row(label, latency, regret=regret, gap=0.1, bound=0.9, accuracy_predicted=0.9 - regret / 100)
                for label, regret in of.items()
            ]
        return made + [{**row("load-exec", 100), "feasible": False}]

    def test_closes_the_share_of_the_gap_that_is_left_to_the_reference(self):
        from regret import POINTS, behind, gap_closed

        results = results_of(self.rows())
        of = {label: behind(results, [r for r in results.rows if r.label == label], POINTS) for label in results.labels()}
        # sti is 1.9 + 1.0 behind the reference's plans, elastic 0.4 + 0.1.
        self.assertAlmostEqual(gap_closed(of["elastic"], of["sti"]), 1 - 0.5 / 2.9)
        self.assertAlmostEqual(gap_closed(of["optimal"], of["sti"]), 1.0)
        self.assertIsNone(gap_closed(of["sti"], of["optimal"]))

    def test_table_tells_mean_worst_and_who_did_not_answer(self):
        from palette import looks
        from regret import summary_table

        results = results_of(self.rows())
        table = summary_table(results, results.rows, looks(results.labels()), "board", True)
        lines = {line[0].text: [cell.text for cell in line] for line in table.rows}
        column = {name: i for i, name in enumerate(table.columns)}
        self.assertEqual(lines["sti"][column["mean regret"]], "1.55")
        self.assertEqual(lines["sti"][column["worst"]], "2.00")
        self.assertEqual(lines["elastic"][column["gap closed"]], "83 %")
        self.assertEqual(lines["load-exec"][column["answered"]], "0 of 1")
        self.assertEqual(lines["load-exec"][column["mean regret"]], "–")

    def test_by_budget_marks_the_least(self):
        from palette import looks
        from regret import budget_table

        results = results_of(self.rows())
        table = budget_table(results, ("board", ""), looks(results.labels()))
        lines = {line[0].text: line[1:] for line in table.rows}
        self.assertEqual([cell.text for cell in lines["elastic"]], ["0.50", "0.20"])
        self.assertEqual([cell.style for cell in lines["optimal"]], ["best", "best"])
        self.assertEqual([cell.text for cell in lines["gap of the reference"]], ["0.10", "0.10"])
        self.assertEqual([cell.text for cell in lines["load-exec"]], ["×", "×"])

    def test_is_told_in_nats_where_no_accuracy_is_known(self):
        from regret import yardstick

        results = results_of([row("sti", 100, loss_regret=0.2)])
        self.assertEqual(yardstick(results.rows).unit, "nats of loss")

    def test_over_all_places_never_adds_points_and_nats(self):
        from palette import looks
        from regret import overall_tables

        shape = {**row("sti", 100, loss_regret=0.2), "platform": "described"}
        results = results_of(self.rows() + [shape])
        tables = overall_tables(results, looks(results.labels()))
        self.assertEqual(len(tables), 2)
        self.assertIn("profiled models", tables[0].title)
        self.assertEqual(tables[0].rows[0][3].text, "1.55")
        self.assertIn("without an accuracy profile", tables[1].title)
        self.assertEqual([(line[0].text, line[3].text) for line in tables[1].rows], [("sti", "0.2")])


class Rows(unittest.TestCase):
    def test_of_several_preloads_are_told_apart_only_where_the_buffer_is_swept(self):
        own = results_of([row("sti", 10, preload_bytes=0), row("sti 5MiB", 10, preload_bytes=5 * MIB)])
        self.assertEqual(len(own.by_budget()), 1)
        swept = results_of([row("sti", 10, preload_bytes=0), row("sti", 10, preload_bytes=5 * MIB)])
        self.assertEqual(len(swept.by_budget()), 2)

    def test_read_anything_as_nothing(self):
        results = results_of(
            [row("sti", float("nan"), accuracy="high", depth=None, plan_hash=7, knobs=[1], error={"a": 1}), {}, 3, None]
        )
        self.assertEqual(len(results.rows), 2)
        self.assertIsNone(results.rows[0].latency_ms)
        self.assertEqual(results.rows[0].error, '{"a": 1}')
        self.assertFalse(results.rows[1].feasible)
        self.assertEqual(results.remarks, ["2 rows are no objects; they are left out"])


class Plans(unittest.TestCase):
    def plan(self, bits, reason="because"):
        from results import read_plan

        return read_plan(
            "p",
            {
                "depth": 1,
                "shards": [{"layer": 0, "slice": j, "bits": b} for j, b in enumerate(bits) if b],
                "explain": [{"layer": 0, "slice": j, "reason": reason} for j, b in enumerate(bits) if b],
            },
        )

    def test_differ_by_shard_and_reason(self):
        from differences import changes

        found = {
            (c.bits_a, c.bits_b): slices for c, slices in changes(self.plan([2, 2, 6, 0]), self.plan([6, 6, 6, 3])).items()
        }
        self.assertEqual(found, {(2, 6): [0, 1], (0, 3): [3]})

    def test_wait_where_no_device_computes(self):
        from lanes import stalls
        from results import Lane

        lanes = [
            Lane("disk0", "load", "load", 0, 2, 0, 9),
            Lane("cpu0", "a", "compute", 0, 0, 3, 5),
            Lane("gpu0", "b", "compute", 0, 0, 4, 6),
            Lane("cpu0", "c", "compute", 1, 0, 9, 10),
        ]
        self.assertEqual(stalls(lanes), [(0.0, 3), (6, 9)])

    def test_are_chosen_by_units(self):
        from chosen import Selector
        from results import Budget, ReportError

        budget = Budget("board", "", 200.0, 8.0 * MIB, None)
        self.assertTrue(Selector("latency=0.2s,memory=8MiB").matches(budget))
        self.assertFalse(Selector("latency=200ms,platform=other").matches(budget))
        named = Budget("sti-board, embedded model", "", 200.0, None, None)
        self.assertTrue(Selector("platform=sti-board, embedded model, latency=200ms").matches(named))
        for bad in ("latency=200", "memory=8", "speed=3ms", "latency=1.2.3ms"):
            with self.assertRaises(ReportError):
                Selector(bad)


class Words(unittest.TestCase):
    def test_have_few_digits_and_no_exponent(self):
        import wording

        self.assertEqual(
            [wording.plain(x) for x in (0, 0.012345, 1.5, 41.04, 1428.3, 1e7, -2.5)],
            ["0", "0.0123", "1.5", "41", "1428", "10000000", "-2.5"],
        )
        self.assertEqual([wording.size(x) for x in (None, 12, 1536, 8 * MIB)], ["–", "12 B", "1.5 KiB", "8 MiB"])
        self.assertEqual(wording.points(-0.001, sign=True), "0.00")
        self.assertEqual(wording.ranges([0, 1, 2, 5, 7, 8]), "0–2, 5, 7, 8")

    def test_name_looks_that_never_repeat(self):
        from palette import looks

        labels = [f"policy{i}" for i in range(14)] + ["sti", "optimal"]
        found = looks(labels)
        self.assertEqual(len({(look.colour, look.marker) for look in found.values()}), len(labels))
        self.assertEqual(found["sti"].name, looks(["sti"])["sti"].name)


if __name__ == "__main__":
    support.main()
