#!/usr/bin/env python3
"""Makes the report of a tournament: OUT/report.html and OUT/figures/*.svg, *.png, from what `tessera compare` left in OUT.

    report.py OUT [--at platform=sti-board,latency=300ms,memory=8MiB]...

Needs matplotlib, numpy and jinja2 (Debian: python3-matplotlib python3-jinja2). Exit codes: 0 done, 1 the report itself
failed, 2 wrong use or no results, 4 the directory cannot be written.
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True  # this directory is installed, and may be read-only

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import Callable, Optional

import libraries

libraries.require("report")

import all_rows
import differences
import fronts
import head
import heat
import lanes
import pairs
import regret
import workloads
from chosen import Selector, chosen_budgets
from drawing import Drawn, write
from page import Page, Section, render
from palette import Look, looks
from results import ReportError, Results, read_results
from tables import Table
from wording import arena_words


def _tables(*found: Optional[Table]) -> list[Table]:
    return [table for table in found if table is not None]


def _plan_section(results: Results, selectors: list[Selector], look: dict[str, Look]) -> list[Section]:
    groups = results.by_budget()
    budgets = chosen_budgets(results, selectors)
    figures: list[Drawn] = []
    told = []
    for budget in budgets:
        drawn = (heat.draw_heat(results, budget, groups[budget]), lanes.draw_lanes(results, budget, groups[budget]))
        figures += [figure for figure in drawn if figure is not None]
        found = differences.differences_at(results, budget, groups[budget], look)
        told += [found] if found is not None else []
    text = (
        ""
        if selectors
        else "Of each platform and workload the budget under which the contenders differ most; others: run this "
        "page's command with --at platform=…,latency=…,memory=…."
    )
    if not figures:
        text = "No plan was found in plans/: nothing to show."
    return [
        Section("plans", "Plans", text, figures),
        Section(
            "differences",
            "Why not the same bits?",
            (
                "Shards on which two contenders differ, with each policy's own reason for its choice."
                if told
                else "Fewer than two contenders have plans under a common budget."
            ),
            differences=told,
        ),
    ]


def _sections(results: Results, selectors: list[Selector]) -> list[Section]:
    look = looks(results.labels())
    found = pairs.read_pairs(results)
    summaries = regret.overall_tables(results, look) if len(results.arenas()) > 1 else []
    for arena in results.arenas():
        mine = [row for row in results.rows if (row.platform, row.workload) == arena]
        summaries += [
            regret.summary_table(results, mine, look, arena_words(*arena), not summaries),
            regret.budget_table(results, arena, look),
        ]
    sections = [
        Section("fronts", "Accuracy against latency and memory", figures=fronts.draw_fronts(results, look)),
        Section("regret", "Regret", figures=regret.draw_regrets(results, look), tables=_tables(*summaries)),
        Section(
            "pairs",
            "Who is better, and is it chance?",
            figures=pairs.draw_differences(results, found, look),
            tables=_tables(pairs.tally_table(found, look), pairs.pair_table(found, look)),
        ),
    ]
    sections += _plan_section(results, selectors, look)
    sections.append(
        Section(
            "workloads",
            "Sequences of requests",
            figures=workloads.draw_workloads(results, look),
            tables=_tables(workloads.workload_table(results, look)),
        )
    )
    sections.append(Section("rows", "Rows", tables=[all_rows.row_table(results, look)] if results.rows else []))
    return _explained(sections)


_ABSENCE = {
    "fronts": "No contender answered under any budget.",
    "regret": "No bound was proven: no reference (policy optimal) competed, it answered nothing, or all rows are sequences of "
    "requests, which have no single optimum.",
    "pairs": "Accuracy was not measured for two contenders over the same sentences.",
    "workloads": "One-shot requests only.",
    "rows": "results.json holds no rows.",
}


def _explained(sections: list[Section]) -> list[Section]:
    for section in sections:
        if section.empty and not section.text:
            section.text = _ABSENCE.get(section.name, "")
    return sections


def _write_figures(sections: list[Section], directory: Path) -> int:
    """Writes all, and removes those that an earlier report made and this one does not."""
    directory.mkdir(parents=True, exist_ok=True)
    listing = directory / "figures.json"
    try:
        earlier = [item["name"] for item in json.loads(listing.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        earlier = []
    drawn = [figure for section in sections for figure in section.figures]
    taken: set[str] = set()
    for figure in drawn:
        base, n = figure.name, 2
        while figure.name in taken:
            figure.name, n = f"{base}-{n}", n + 1
        taken.add(figure.name)
        write(figure, directory)
    for name in earlier:
        if isinstance(name, str) and name not in taken and "/" not in name:
            for suffix in (".svg", ".png"):
                (directory / (name + suffix)).unlink(missing_ok=True)
    listed = [{"name": figure.name, "title": figure.title, "caption": figure.caption} for figure in drawn]
    listing.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(drawn)


def _again(arguments: argparse.Namespace) -> str:
    words = ["tools/report/report.py", arguments.directory]
    for at in arguments.at:
        words += ["--at", at]
    return shlex.join(words)


def make(arguments: argparse.Namespace) -> str:
    """Returns the line that says what was made."""
    directory = Path(arguments.directory)
    selectors = [Selector(words) for words in arguments.at]
    results = read_results(directory)
    sections = _sections(results, selectors)
    errors = head.error_table(results, looks(results.labels()))
    drawn = _write_figures(sections, directory / "figures")
    page = Page(
        head.title(results),
        head.facts(results),
        head.command(results),
        _again(arguments),
        head.experiment_text(results),
        list(dict.fromkeys(results.remarks)),
        errors,
        sections,
        len(results.rows),
    )
    path = directory / "report.html"
    half = directory / f".report.html.{os.getpid()}"
    try:
        half.write_text(render(page), encoding="utf-8", errors="replace")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return f"{path}: {len(results.rows)} rows, {drawn} figures in {directory / 'figures'}"


def guarded(program: str, place: str, work: Callable[[], str]) -> int:
    """Prints what `work` returns, or one line of what went wrong; the exit code."""
    try:
        print(work())
    except ReportError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{program}: {error.filename or place}: {error.strerror or error}; is the disk full, or not yours to write?",
            file=sys.stderr,
        )
        return 4
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # never a stack trace: rows come from anywhere
        if os.environ.get("TESSERA_REPORT_TRACE"):
            raise
        print(
            f"{program}: internal error: {type(error).__name__}: {error}; TESSERA_REPORT_TRACE=1 shows where",
            file=sys.stderr,
        )
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="report.py", description="Makes report.html and figures/ of a directory that `tessera compare` wrote."
    )
    parser.add_argument("directory", metavar="OUT", help="the directory with results.json and plans/")
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="platform=P,latency=T,memory=BYTES,...",
        help="budgets whose plans are shown (repeatable): platform, workload, latency, memory, preload; e.g. "
        "--at platform=sti-board,latency=300ms,memory=8MiB",
    )
    arguments = parser.parse_args()
    return guarded("report", arguments.directory, lambda: make(arguments))


if __name__ == "__main__":
    sys.exit(main())
