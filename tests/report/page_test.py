"""The programs on generated directories: one page, nothing outside of it, valid figures, one line for bad input."""

import support  # isort: skip

import html.parser
import json
import re
import tempfile
import unittest
import xml.etree.ElementTree
import zlib
from pathlib import Path

import synthetic

MIB = 1 << 20
VOID = {"meta", "input", "br", "hr", "img", "link"}
LINKS = ("href", "src", "srcset", "xlink:href", "action", "data", "poster")


class Reader(html.parser.HTMLParser):
    """Collects what a page refers to, its ids, and tags that are not closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.open, self.wrong, self.texts = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in LINKS]
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [m for name, value in attributes if name == "style" for m in re.findall(r"url\((.*?)\)", value or "")]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def png_is_whole(path):
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    at, kinds = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kinds.append(data[at + 4 : at + 8])
        if zlib.crc32(data[at + 4 : at + 8 + length]) != int.from_bytes(data[at + 8 + length : at + 12 + length], "big"):
            return False
        at += 12 + length
    return kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and b"IDAT" in kinds


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.out = synthetic.tournament(
            Path(cls.directory.name),
            labels=("sti", "elastic", "optimal", "random"),
            platforms=("board",),
            latencies=(100, 150, 300),
            workloads=(None, "typing"),
        )
        cls.done = support.run("report.py", cls.out)
        cls.text = (cls.out / "report.html").read_text(encoding="utf-8")
        cls.page = Reader(cls.text)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def test_is_made_without_a_word_of_warning(self):
        self.assertEqual((self.done.returncode, self.done.stderr), (0, ""))

    def test_refers_to_nothing_outside_itself(self):
        self.assertTrue(self.page.links)
        self.assertEqual([link for link in self.page.links if not link.startswith(("#", "data:"))], [])
        self.assertNotIn("@import", self.text)
        urls = set(re.findall(r"https?://[^\s\"'<>)]+", self.text))
        self.assertEqual({url for url in urls if not url.startswith("http://www.w3.org/")}, set())

    def test_closes_what_it_opens_and_names_nothing_twice(self):
        self.assertEqual((self.page.wrong, self.page.open), ([], []))
        self.assertEqual(len(self.page.ids), len(set(self.page.ids)))
        self.assertEqual(
            [link for link in self.page.links if link.startswith("#") and link[1:] not in set(self.page.ids)], []
        )

    def test_has_every_figure_as_svg_and_png(self):
        figures = json.loads((self.out / "figures/figures.json").read_text())
        kinds = {figure["name"].split("-")[0] for figure in figures}
        self.assertEqual(kinds, {"front", "heat", "lanes", "regret", "against", "latencies"})
        for figure in figures:
            root = xml.etree.ElementTree.parse(self.out / "figures" / f"{figure['name']}.svg").getroot()
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
            self.assertTrue(png_is_whole(self.out / "figures" / f"{figure['name']}.png"), figure["name"])
            self.assertIn(f'id="{figure["name"]}"', self.text)

    def test_tells_what_was_run_and_how_to_run_it_again(self):
        shown = " ".join(self.page.texts)
        for words in (
            "STI and its challengers",
            "tessera compare configs/experiments/sti_paper.toml",
            "48: 44 feasible",
            "decide: no answer within 10 s; ended",
            "872 sentences",
        ):
            self.assertIn(words, shown)

    def test_tells_each_policys_own_reason(self):
        self.assertIn("why, says elastic", self.text)
        self.assertRegex(self.text, "raised to [0-9]+ bits")

    def test_follows_light_dark_and_paper(self):
        for words in ("prefers-color-scheme: dark", "@media print", "var(--ink)"):
            self.assertIn(words, self.text)

    def test_made_again_is_the_same(self):
        before = {path.name: path.read_bytes() for path in (self.out / "figures").iterdir()}
        stale = self.out / "figures" / "kept-by-the-user.svg"
        stale.write_text("mine")
        self.assertEqual(support.run("report.py", self.out).returncode, 0)
        self.assertEqual((self.out / "report.html").read_text(encoding="utf-8"), self.text)
        self.assertEqual(stale.read_text(), "mine")
        stale.unlink()
        self.assertEqual({path.name: path.read_bytes() for path in (self.out / "figures").iterdir()}, before)


class Odd(unittest.TestCase):
    """Whatever the rows are, there is a page."""

    def page_of(self, document, plans=None):
        with tempfile.TemporaryDirectory() as directory:
            out = synthetic.write(Path(directory), document, plans)
            done = support.run("report.py", out)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            page = Reader((out / "report.html").read_text(encoding="utf-8"))
            self.assertEqual((page.wrong, page.open), ([], []))
            return " ".join(page.texts)

    def test_no_rows(self):
        self.assertIn("results.json holds no rows", self.page_of({"rows": []}))

    def test_all_infeasible(self):
        rows = [synthetic.one_row("board", label, 5, MIB, 1) for label in ("sti", "elastic")]
        shown = self.page_of({"experiment": "tight", "rows": rows, "pairs": []})
        self.assertIn("No contender answered under any budget", shown)
        self.assertIn("2: 0 feasible", shown)

    def test_one_policy_without_bounds_or_accuracy(self):
        rows = [
            {
                **synthetic.one_row("board", "sti", latency, None, 1, profiled=False),
                "feasible": True,
                "latency_ms_achieved": 4.0,
                "peak_bytes": MIB,
                "loss_predicted": 0.3,
                "plan_hash": "x",
            }
            for latency in (5, 6)
        ]
        made = synthetic.plan(2, 2, 0.5, "sti", __import__("random").Random(1))
        shown = self.page_of({"rows": rows, "experiment": {"name": ""}}, {"x": made})
        self.assertIn("no accuracy profile", shown)
        self.assertIn("No bound was proven", shown)

    def test_nonsense_in_every_field(self):
        nan = float("nan")
        wild = {
            name: value
            for name, value in zip(
                (
                    "latency_ms",
                    "memory_bytes",
                    "seed",
                    "accuracy",
                    "accuracy_low",
                    "accuracy_high",
                    "regret",
                    "gap",
                    "peak_bytes",
                    "depth",
                    "width",
                    "mean_bits",
                    "plan_us",
                    "requests",
                    "misses",
                    "latency_p50_ms",
                    "latency_ms_achieved",
                    "plan_hash",
                    "label",
                ),
                (
                    nan,
                    "8 MiB",
                    [],
                    nan,
                    2,
                    -1,
                    1e300,
                    "x",
                    -5,
                    1e18,
                    -3,
                    {},
                    None,
                    0,
                    5,
                    -1.0,
                    0,
                    "../../etc/passwd",
                    "<b>&\"'$x^2$ _{",
                ),
            )
        }
        plans = {
            "p": {
                "shards": [{"layer": -1}, {"layer": 10**9, "slice": 0, "bits": 3}, 4, {"layer": 0, "slice": 0, "bits": "x"}],
                "lanes": [{"start_ms": 4, "end_ms": 1}, {"start_ms": nan, "end_ms": 2}, {}, "x"],
                "explain": {"shards": 3},
            },
            "q": {"shards": [{"layer": 0, "slice": 0, "bits": 900}], "lanes": [{"device": "d", "start_ms": 0, "end_ms": 0}]},
        }
        rows = [
            {"feasible": True, **wild},
            {"feasible": True, "label": "p", "plan_hash": "p", **{k: wild[k] for k in ("latency_ms",)}},
            {"feasible": True, "label": "q", "plan_hash": "q"},
            {"feasible": "yes"},
            {"platform": 5, "error": ["bad"]},
        ]
        shown = self.page_of(
            {"experiment": 7, "rows": rows, "summary": {}, "pairs": [{"a": "p", "b": "q", "p_mcnemar": nan}, {}, 1]}, plans
        )
        self.assertIn("<b>&\"'$x^2$ _{", shown)


class Refused(unittest.TestCase):
    def refused(self, code, words, *arguments, program="report.py"):
        done = support.run(program, *arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn(words, done.stderr)

    def test_bad_directories_in_one_line(self):
        with tempfile.TemporaryDirectory() as directory:
            self.refused(2, "no such directory", directory + "/nothing")
            self.refused(2, "missing", directory)
            results = Path(directory) / "results.json"
            for text, words in (
                ("{", "cannot be read as JSON"),
                ("[]", "no list of rows"),
                ('{"rows": 3}', "no list of rows"),
                ("[" * 100000, "cannot be read as JSON"),
            ):
                results.write_text(text)
                self.refused(2, words, directory)
            results.write_bytes(b"\xff\xfe\x00{")
            self.refused(2, "cannot be read as JSON", directory)
            results.write_text('{"rows": []}')
            self.refused(2, "no row has this budget", directory, "--at", "latency=3ms")
            self.refused(2, "unknown figure", directory, "--out", directory, "--only", "everything", program="figures.py")
            self.refused(2, "nothing to draw", directory, "--out", directory, program="figures.py")
            (Path(directory) / "figures").write_text("a file in the way")
            self.refused(4, "figures", directory)


class Figures(unittest.TestCase):
    def test_of_sweeps_and_ablations(self):
        with tempfile.TemporaryDirectory() as directory:
            labels = ("sti", "sti(importance=random)", "elastic", "elastic(slack=off)", "optimal")
            out = synthetic.tournament(
                Path(directory) / "a",
                labels=labels,
                platforms=("board", "board io x2"),
                latencies=(100, 200, 300),
                seeds=(1, 2),
            )
            document = json.loads((out / "results.json").read_text())
            document["experiment"]["platforms"] = [{"name": "board", "io_speed": 1}, {"name": "board io x2", "io_speed": 2}]
            for i, row in enumerate(document["rows"]):
                row["preload_bytes"] = (i % 3) * MIB
            (out / "results.json").write_text(json.dumps(document))
            figures = Path(directory) / "f"
            done = support.run("figures.py", out, "--out", figures)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            names = {path.stem for path in figures.glob("*.svg")}
            self.assertEqual(
                names,
                {
                    "sti-paper-preload-board",
                    "sti-paper-preload-board-io-x2",
                    "sti-paper-io-ratio-board",
                    "sti-paper-importance-board",
                    "sti-paper-importance-board-io-x2",
                    "sti-paper-ablation-sti",
                    "sti-paper-ablation-elastic",
                    "sti-paper-gap",
                },
            )
            for name in names:
                self.assertTrue(png_is_whole(figures / f"{name}.png"), name)
                xml.etree.ElementTree.parse(figures / f"{name}.svg")

    def test_pair_variants_with_the_whole_policy_by_budget(self):
        from results import read_results
        from sweeps import paired_differences

        with tempfile.TemporaryDirectory() as directory:

            def row(label, latency, accuracy):
                return {**synthetic.one_row("board", label, latency, MIB, 1), "feasible": True, "accuracy": accuracy}

            rows = [
                row("elastic", 1, 0.9),
                row("elastic", 2, 0.92),
                row("elastic(sets=off)", 1, 0.88),
                row("elastic(sets=off)", 3, 0.1),
            ]
            results = read_results(synthetic.write(Path(directory), {"rows": rows}))
            got = paired_differences(results, results.rows, "elastic", "elastic(sets=off)", lambda r: r.accuracy)
            self.assertEqual(len(got), 1)
            self.assertAlmostEqual(got[0], -0.02)


if __name__ == "__main__":
    support.main()
