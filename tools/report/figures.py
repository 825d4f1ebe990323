#!/usr/bin/env python3
"""Draws single figures of tournaments: DIR/EXPERIMENT-FIGURE-PLATFORM.svg and .png, those of docs/results.md.

    figures.py OUT... --out DIR [--only preload,io-ratio,importance,ablation,gap,fronts,plans,pairs] [--at BUDGET]

Of each results directory those that its rows can tell are drawn. Exit codes as report.py's; 2 also where there was nothing
to draw.
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

import argparse
from pathlib import Path

import libraries

libraries.require("figures")

import fronts
import heat
import lanes
import pairs
from chosen import Selector, chosen_budgets
from drawing import Drawn, write
from palette import looks
from report import guarded
from results import ReportError, Results, read_results
from sweeps import FIGURES, name_of
from wording import file_word

REPORTED = ("fronts", "plans", "pairs")  # as in the report, named after the experiment


def _of_report(kind: str, results: Results, selectors: list[Selector]) -> list[Drawn]:
    look = looks(results.labels())
    if kind == "fronts":
        drawn = fronts.draw_fronts(results, look)
    elif kind == "pairs":
        drawn = pairs.draw_differences(results, pairs.read_pairs(results), look)
    else:
        groups = results.by_budget()
        found = [
            draw(results, budget, groups[budget])
            for budget in chosen_budgets(results, selectors)
            for draw in (heat.draw_heat, lanes.draw_lanes)
        ]
        drawn = [figure for figure in found if figure is not None]
    for figure in drawn:
        figure.name = file_word(name_of(results), figure.name)
    return drawn


def make(arguments: argparse.Namespace) -> str:
    known = (*FIGURES, *REPORTED)
    wanted = arguments.only.split(",") if arguments.only else list(FIGURES)
    for name in wanted:
        if name not in known:
            raise ReportError(f"--only: unknown figure '{name}'; known: {', '.join(known)}")
    selectors = [Selector(words) for words in arguments.at]
    directory = Path(arguments.out)
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for out in arguments.directories:
        results = read_results(Path(out))
        for name in wanted:
            drawn = FIGURES[name](results) if name in FIGURES else _of_report(name, results, selectors)
            for figure in drawn:
                lines += [f"{path}: {figure.title}" for path in write(figure, directory)]
    if not lines:
        raise ReportError(f"nothing to draw: no rows of {', '.join(arguments.directories)} tell of {', '.join(wanted)}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="figures.py", description="Draws single figures of directories that `tessera compare` wrote."
    )
    parser.add_argument("directories", metavar="OUT", nargs="+", help="directories with results.json")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the figures go")
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help=f"of {', '.join((*FIGURES, *REPORTED))}; all of the first five by default",
    )
    parser.add_argument(
        "--at", action="append", default=[], metavar="BUDGET", help="for plans: platform=P,latency=T,memory=BYTES,..."
    )
    arguments = parser.parse_args()
    return guarded("figures", arguments.out, lambda: make(arguments))


if __name__ == "__main__":
    sys.exit(main())
