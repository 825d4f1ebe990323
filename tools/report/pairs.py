"""Compares contenders two by two over the same sentences: who is better where, and whether that may be chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from drawing import Drawn, legend_below, legend_height, panels
from palette import INK, MUTED, Look
from results import Budget, Results, number, text
from significance import LEVEL, holm, mcnemar, mean
from tables import Cell, Table, contender, quantity, words
from wording import arena_words, budget_words, count, file_word, interval, p_value, plain, points

MOST_LISTED = 4000
MOST_PANELS = 9


@dataclass
class Pair:
    """a against b under one budget; differences are a less b, in points."""

    budget: Budget
    seed: Optional[float]
    a: str
    b: str
    n: Optional[float]
    only_a: Optional[float]
    only_b: Optional[float]
    p: Optional[float]
    difference: Optional[float]
    low: Optional[float]
    high: Optional[float]
    adjusted: Optional[float] = None
    tests: int = 0  # that the correction is over

    @property
    def equal(self) -> bool:
        """Both answered every sentence alike."""
        return self.only_a == 0 and self.only_b == 0

    @property
    def verdict(self) -> str:
        return self.better or ("same answers" if self.equal else "chance?")

    @property
    def better(self) -> str:
        """After Holm's correction; empty: may be chance."""
        if self.adjusted is None or self.adjusted >= LEVEL or not self.difference:
            return ""
        return self.a if self.difference > 0 else self.b


def _in_points(item: dict[str, Any], name: str) -> Optional[float]:
    share = number(item.get(name))
    return None if share is None else 100 * share


def read_pair(item: dict[str, Any], swept_preload: frozenset[str]) -> Optional[Pair]:
    a, b = text(item.get("a")), text(item.get("b"))
    if not a or not b:
        return None
    platform = text(item.get("platform")) or "unnamed platform"
    preload = number(item.get("preload_bytes")) if platform in swept_preload else None
    budget = Budget(
        platform, text(item.get("workload")), number(item.get("latency_ms")), number(item.get("memory_bytes")), preload
    )
    n, only_a, only_b = (number(item.get(name)) for name in ("n", "only_a_right", "only_b_right"))
    p = number(item.get("p_mcnemar"))
    difference = _in_points(item, "difference")
    counted = only_a is not None and only_b is not None and min(only_a, only_b) >= 0 and max(only_a, only_b) < 1e7
    if counted and n:
        difference = 100 * ((only_a or 0) - (only_b or 0)) / n  # the sign is then beyond doubt
    if p is None and counted:
        p = mcnemar(int(only_a or 0), int(only_b or 0))
    low, high = _in_points(item, "difference_low"), _in_points(item, "difference_high")
    return Pair(budget, number(item.get("seed")), a, b, n, only_a, only_b, p, difference, low, high)


def _identity(results: Results, pairs: list[Pair]) -> list[Any]:
    """Equal where the same weights of the same model are compared, under whatever budgets: one test, not two."""
    keys: dict[Any, str] = {}
    for row in results.rows:
        if row.accuracy_key:
            keys[(results.budget_of(row), row.seed, row.label)] = f"{row.model} {row.accuracy_key}"
    found: list[Any] = []
    for i, pair in enumerate(pairs):
        sides = [keys.get((pair.budget, pair.seed, label), "") for label in (pair.a, pair.b)]
        found.append(tuple(sorted(sides)) if all(sides) else i)
    return found


def read_pairs(results: Results) -> list[Pair]:
    """With p-values corrected over all different tests; a pair with equal answers throughout cannot fail one and is none."""
    found = [pair for pair in (read_pair(item, results.swept_preload) for item in results.pairs) if pair is not None]
    tests: dict[Any, Optional[float]] = {}
    identities = _identity(results, found)
    for pair, identity in zip(found, identities):
        if not pair.equal:
            tests.setdefault(identity, pair.p)
    adjusted = dict(zip(tests, holm(list(tests.values()))))
    for pair, identity in zip(found, identities):
        pair.adjusted = 1.0 if pair.equal else adjusted[identity]
        pair.tests = sum(p is not None for p in tests.values())
    return found


def _difference_cell(pair: Pair) -> Cell:
    return quantity(pair.difference, points(pair.difference, sign=True), style="best" if pair.better else "")


def _pair_cells(pair: Pair, looks: dict[str, Look]) -> list[Cell]:
    return [
        *(_named(label, looks, pair.better == label) for label in (pair.a, pair.b)),
        quantity(pair.n, count(pair.n)),
        quantity(pair.only_a, count(pair.only_a)),
        quantity(pair.only_b, count(pair.only_b)),
        _difference_cell(pair),
        words(interval(pair.low, pair.high)),
        quantity(pair.p, p_value(pair.p)),
        quantity(pair.adjusted, p_value(pair.adjusted)),
        words(pair.verdict, "" if pair.better else "rest"),
    ]


_COLUMNS = "budget|first|second|sentences|only first right|only second right|difference|95 % interval|p|p (Holm)|better"


def pair_table(pairs: list[Pair], looks: dict[str, Look]) -> Optional[Table]:
    if not pairs:
        return None
    lines = []
    several_seeds = len({pair.seed for pair in pairs}) > 1
    for pair in pairs[:MOST_LISTED]:
        where = budget_words(pair.budget) + (
            f", seed {plain(pair.seed, 9)}" if several_seeds and pair.seed is not None else ""
        )
        lines.append([words(where)] + _pair_cells(pair, looks))
    tested = pairs[0].tests
    note = (
        f"Exact McNemar test over the same sentences. Of {tested} different tests, 5 % would look significant by "
        f"chance alone: the better is named only where p stays below {LEVEL} after Holm's correction over all (the "
        "same two plans under several budgets are one test; equal answers throughout are none). Differences: first less "
        "second, in points, with 95 % intervals (bootstrap over the sentences, each by itself, not corrected)."
    )
    if len(pairs) > MOST_LISTED:
        note += f" The first {MOST_LISTED} of {len(pairs)} are listed; results.json has all."
    return Table("All pairs", _COLUMNS.split("|"), lines, note, filterable=True, folded=len(lines) > 40)


def _named(label: str, looks: dict[str, Look], better: bool) -> Cell:
    cell = contender(label, looks[label].name if label in looks else "")
    return Cell(cell.text, cell.sort, cell.style + (" best" if better else ""), colour=cell.colour)


def tally(pairs: list[Pair], a: str, b: str) -> Optional[tuple[int, int, int, Optional[float]]]:
    """Wins, ties and losses of a against b over budgets, and the mean difference; None where they never met."""
    wins = ties = losses = 0
    differences = []
    for pair in pairs:
        if {pair.a, pair.b} != {a, b} or pair.a == pair.b:
            continue
        wins, ties, losses = wins + (pair.better == a), ties + (pair.better == ""), losses + (pair.better == b)
        if pair.difference is not None:
            differences.append(pair.difference if pair.a == a else -pair.difference)
    return (wins, ties, losses, mean(differences)) if wins + ties + losses else None


def tally_table(pairs: list[Pair], looks: dict[str, Look]) -> Optional[Table]:
    met = [label for label in looks if any(label in (pair.a, pair.b) for pair in pairs)]
    if len(met) < 2:
        return None
    lines = []
    for a in met:
        cells = [contender(a, looks[a].name)]
        for b in met:
            score = tally(pairs, a, b)
            if score is None:
                cells.append(words("" if a == b else "–", "rest"))
                continue
            wins, ties, losses, difference = score
            style = "best" if wins > losses else "worse" if losses > wins else ""
            cells.append(
                quantity(
                    difference,
                    f"{wins}–{ties}–{losses}  ({points(difference, sign=True)})",
                    style=style,
                    hint=f"{a} against {b}: better under {wins} budgets, worse under {losses}, {ties} may be chance",
                )
            )
        lines.append(cells)
    note = (
        "The line's contender against the column's: wins–ties–losses over budgets on measured accuracy, a win where "
        f"McNemar's p stays below {LEVEL} after Holm's correction; in brackets the mean difference in points."
    )
    return Table("Wins, ties, losses", ["against"] + met, lines, note)


def draw_differences(results: Results, pairs: list[Pair], looks: dict[str, Look]) -> list[Drawn]:
    """Each contender against the baseline by latency budget, an arena a figure."""
    base = results.named("baseline", "sti")
    if not base:
        return []
    drawn = []
    for arena in results.arenas():
        against: dict[str, list[Pair]] = {}
        for pair in pairs:
            if (
                (pair.budget.platform, pair.budget.workload) == arena
                and base in (pair.a, pair.b)
                and pair.difference is not None
            ):
                against.setdefault(pair.b if pair.a == base else pair.a, []).append(pair)
        figure = _draw_against(arena, base, {label: against[label] for label in looks if label in against}, looks)
        if figure is not None:
            drawn.append(figure)
    return drawn


def _draw_group(ax: Axes, label: str, group: list[Pair], budgets: list[Budget], look: Look) -> None:
    ax.axhline(0, color=MUTED, linewidth=0.9)
    place = {budget: i for i, budget in enumerate(budgets)}
    signed = [(place[pair.budget], 1 if pair.a == label else -1, pair) for pair in group]
    known = [(x, sign * p.low, sign * p.high) for x, sign, p in signed if p.low is not None and p.high is not None]
    if known:
        xs, starts, ends = zip(*known)
        ax.vlines(xs, starts, ends, color=look.colour, linewidth=1.1, alpha=0.7)
    for better, face in ((True, look.colour), (False, "none")):
        points = [(x, sign * (p.difference or 0.0)) for x, sign, p in signed if bool(p.better) == better]
        if points:
            ax.plot(*zip(*points), look.marker, markersize=5, color=look.colour, markerfacecolor=face)
    step = max(1, -(-len(budgets) // 10))
    names = [budget_words(budget, platform=False) for budget in budgets[::step]]
    ax.set_xticks(range(0, len(budgets), step), names, rotation=90, fontsize=6.5)
    ax.set_xlim(-0.6, len(budgets) - 0.4)
    ax.tick_params(labelbottom=True)


def _draw_against(
    arena: tuple[str, str], base: str, against: dict[str, list[Pair]], looks: dict[str, Look]
) -> Optional[Drawn]:
    if not against:
        return None
    shown = list(against.items())[:MOST_PANELS]
    budgets = sorted({pair.budget for _, group in shown for pair in group}, key=Budget.sort_key)
    handles = [
        Line2D([], [], color=INK, marker="o", linestyle="none", label="significant after Holm's correction"),
        Line2D([], [], color=INK, marker="o", markerfacecolor="none", linestyle="none", label="may be chance"),
    ]
    columns = min(3, len(shown))
    each = 10.4 / columns if columns > 1 else 6.6
    figure, axes = panels(len(shown), columns, each, 2.0, legend_height(handles, 10.4) + 0.9, sharey=True, sharex=True)
    for ax, (label, group) in zip(axes, shown):
        _draw_group(ax, label, group, budgets, looks[label])
        ax.set_title(f"{label} − {base}", loc="left", fontweight="normal")
    figure.supylabel("difference of measured accuracy (points)", fontsize=8.5)
    legend_below(figure, handles)
    caption = f"Above 0: more accurate than {base} at the same budgets; bars: 95 % intervals, paired over the sentences."
    if len(shown) < len(against):
        caption += f" {len(shown)} of {len(against)} contenders are shown."
    return Drawn(file_word("against", base, *arena), f"Against {base}: {arena_words(*arena)}", caption, figure, "pairs")
