"""Tells how far each contender stays behind the proven bound: tables and one figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Optional

from matplotlib.lines import Line2D

from drawing import Drawn, legend_below, legend_height, panels
from palette import INK, MUTED, Look
from results import Budget, Results, Row, items, number, text
from significance import bootstrap_mean, mean, median
from tables import Cell, Table, contender, quantity, words
from wording import NOTHING, arena_words, budget_words, percent, plain, points

MOST_COLUMNS = 16
INFEASIBLE = "×"
MOST_PANELS = 6


@dataclass(frozen=True)
class Yardstick:
    """What regret is counted in: points of accuracy where the model is profiled, else its loss."""

    unit: str
    regret: Callable[[Row], Optional[float]]
    gap: Callable[[Row], Optional[float]]

    def shown(self, value: Optional[float]) -> str:
        if value is None:
            return NOTHING
        return points(value) if self.unit == "points" else plain(value, 3).replace("-", "−")


POINTS = Yardstick("points", lambda row: row.regret, lambda row: row.gap)
NATS = Yardstick("nats of loss", lambda row: row.loss_regret, lambda row: row.loss_gap)


def yardstick(rows: list[Row]) -> Optional[Yardstick]:
    if any(row.regret is not None for row in rows):
        return POINTS
    return NATS if any(row.loss_regret is not None for row in rows) else None


def regrets(rows: list[Row], stick: Yardstick) -> list[float]:
    return [value for value in (stick.regret(row) for row in rows if row.feasible) if value is not None]


Behind = dict[tuple[Budget, Optional[float]], float]


def behind(results: Results, rows: list[Row], stick: Yardstick) -> Behind:
    """By budget and seed: how much less than the reference's own plan is reached."""
    found: Behind = {}
    for row in rows:
        regret, gap = stick.regret(row), stick.gap(row)
        if row.feasible and regret is not None:
            found[(results.budget_of(row), row.seed)] = regret - (gap or 0.0)
    return found


def gap_closed(mine: Behind, baseline: Behind) -> Optional[float]:
    """The share of the baseline's distance to the reference, summed over what both answered; None where there is none."""
    common = [key for key in baseline if key in mine]  # in order: sums come out alike in every run
    distance = math.fsum(baseline[key] for key in common)
    return None if distance <= 1e-9 else 1.0 - math.fsum(mine[key] for key in common) / distance


def told_gap_closed(results: Results, mine: list[Row]) -> Optional[float]:
    """As `tessera compare` summed it up, for the rows of one platform, model and workload, or for all of a contender's."""
    places = {(row.platform, row.model, row.workload) for row in mine}
    every = len(mine) == sum(row.label == mine[0].label for row in results.rows)
    for item in items(results.raw.get("summary")):
        place = tuple(text(item.get(name)) for name in ("platform", "model", "workload"))
        if item.get("policy") == mine[0].label and (places == {place} or (every and place == ("", "", ""))):
            return number(item.get("gap_closed"))
    return None


def _summary_row(
    results: Results, all_mine: list[Row], look: Look, stick: Yardstick, baseline: Optional[Behind]
) -> list[Cell]:
    label = all_mine[0].label
    values = regrets(all_mine, stick)
    low, high = bootstrap_mean(values)
    worst = max(
        (row for row in all_mine if row.feasible and stick.regret(row) is not None),
        key=lambda row: stick.regret(row) or 0.0,
        default=None,
    )
    closed = told_gap_closed(results, all_mine)
    if closed is None and baseline is not None:
        closed = gap_closed(behind(results, all_mine, stick), baseline)
    feasible = sum(row.feasible for row in all_mine)
    errors = sum(bool(row.error) for row in all_mine)
    plan_us = median([row.plan_us for row in all_mine if row.plan_us is not None])
    average, farthest = mean(values), None if worst is None else stick.regret(worst)
    return [
        contender(label, look.name),
        quantity(feasible, f"{feasible} of {len(all_mine)}"),
        quantity(errors, str(errors) if errors else "", style="bad" if errors else ""),
        quantity(average, stick.shown(average)),
        words("" if low is None or high is None else f"{stick.shown(low)} … {stick.shown(high)}"),
        quantity(farthest, stick.shown(farthest), hint="" if worst is None else budget_words(results.budget_of(worst))),
        quantity(closed, percent(closed, 0).replace("-", "−")),
        quantity(plan_us, NOTHING if plan_us is None else plain(plan_us)),
    ]


_COLUMNS = ["contender", "answered", "errors", "mean regret", "95 % interval", "worst", "gap closed", "planning, median µs"]


def summary_table(results: Results, rows: list[Row], looks: dict[str, Look], title: str, noted: bool) -> Optional[Table]:
    """`noted`: with what its columns mean."""
    stick = yardstick(rows)
    if stick is None:
        return None
    base = results.named("baseline", "sti")
    baseline = behind(results, [row for row in rows if row.label == base], stick) if base else None
    lines = []
    for label, look in looks.items():
        mine = [row for row in rows if row.label == label]
        if mine:
            lines.append(_summary_row(results, mine, look, stick, baseline))
    note = (
        f"Regret and gap in {stick.unit}: regret is the proven bound less what the plan is predicted to reach, the gap the "
        "bound less what the reference's own plan reaches. Means are over the rows that a contender answered; intervals by "
        "bootstrap over them."
    )
    if base:
        note += f" Gap closed: of the distance from {base} to the reference's plan, summed over the rows that both answered."
    gaps = [gap for gap in (stick.gap(row) for row in rows) if gap is not None]
    if gaps:
        note += f" The reference's own plans stay {stick.shown(mean(gaps))} below the bound on average, "
        note += f"{stick.shown(max(gaps))} at worst."
    others = sum(stick.regret(row) is None and row.loss_regret is not None for row in rows)
    if others:
        note += f" {others} rows of models without an accuracy profile are in no mean here."
    return Table(title, _COLUMNS, lines, note if noted or others else "")


def overall_tables(results: Results, looks: dict[str, Look]) -> list[Optional[Table]]:
    """Over all places; points of accuracy and nats of loss do not add up, so each has a table of its own."""
    sticks = {
        arena: yardstick([row for row in results.rows if (row.platform, row.workload) == arena]) for arena in results.arenas()
    }
    title = "All platforms and workloads"
    if len({stick.unit for stick in sticks.values() if stick}) < 2:
        return [summary_table(results, results.rows, looks, title, True)]
    tables = []
    for stick, of in ((POINTS, "profiled models"), (NATS, "models without an accuracy profile")):
        rows = [row for row in results.rows if sticks[(row.platform, row.workload)] is stick]
        tables.append(summary_table(results, rows, looks, f"{title}, {of}", True))
    return tables


def _columns(budgets: list[Budget]) -> list[tuple[str, set[Budget]]]:
    """One a budget; where these are too many, one a latency budget."""
    if len(budgets) <= MOST_COLUMNS:
        return [(budget_words(budget, platform=False), {budget}) for budget in budgets]
    by_latency: dict[Optional[float], set[Budget]] = {}
    for budget in budgets:
        by_latency.setdefault(budget.latency_ms, set()).add(budget)
    return [
        (budget_words(Budget("", "", latency, None, None), platform=False).split(",")[0], group)
        for latency, group in by_latency.items()
    ]


def _least(values: list[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def _mean_of(rows: list[Row], of: Callable[[Row], Optional[float]]) -> Optional[float]:
    return mean([value for value in (of(row) for row in rows if row.feasible) if value is not None])


def _regret_cells(groups: list[list[Row]], least: list[Optional[float]], most: float, stick: Yardstick) -> list[Cell]:
    cells = []
    for rows, best in zip(groups, least):
        value = _mean_of(rows, stick.regret)
        if value is None:
            cells.append(Cell(NOTHING if any(row.feasible for row in rows) else INFEASIBLE, style="number rest"))
            continue
        style = "best" if best is not None and value <= best + 1e-9 else ""
        heat = max(0.0, min(1.0, value / most)) if most > 0 else None
        cells.append(quantity(value, stick.shown(value), style=style, heat=heat))
    return cells


def budget_table(results: Results, arena: tuple[str, str], looks: dict[str, Look]) -> Optional[Table]:
    rows = [row for row in results.rows if (row.platform, row.workload) == arena]
    stick = yardstick(rows)
    if stick is None:
        return None
    budgets = sorted({results.budget_of(row) for row in rows}, key=Budget.sort_key)
    columns = _columns(budgets)
    column_of = {budget: i for i, (_, group) in enumerate(columns) for budget in group}
    cells: dict[str, list[list[Row]]] = {label: [[] for _ in columns] for label in looks}
    for row in rows:
        cells[row.label][column_of[results.budget_of(row)]].append(row)
    cells = {label: groups for label, groups in cells.items() if any(groups)}
    values = [[_mean_of(group, stick.regret) for group in groups] for groups in cells.values()]
    most = max((value for line in values for value in line if value is not None), default=0.0)
    least = [_least([line[i] for line in values]) for i in range(len(columns))]
    lines = [
        [contender(label, looks[label].name)] + _regret_cells(groups, least, most, stick) for label, groups in cells.items()
    ]
    gaps = [_mean_of([row for groups in cells.values() for row in groups[i]], stick.gap) for i in range(len(columns))]
    lines.append([words("gap of the reference", "rest")] + [quantity(gap, stick.shown(gap), style="rest") for gap in gaps])
    note = f"In {stick.unit}, mean over seeds; bold: the least; {INFEASIBLE}: infeasible; {NOTHING}: no bound was proven."
    if len(columns) < len(budgets):
        note += " Memory and preload budgets are averaged; the table of all rows has them one by one."
    return Table(f"Regret by budget: {arena_words(*arena)}", ["contender"] + [name for name, _ in columns], lines, note)


def draw_regrets(results: Results, looks: dict[str, Look]) -> list[Drawn]:
    """Means with intervals, and the worst, an arena a panel."""
    arenas = [(arena, [row for row in results.rows if (row.platform, row.workload) == arena]) for arena in results.arenas()]
    arenas = [entry for entry in arenas if yardstick(entry[1]) is not None]
    if not arenas:
        return []
    shown = arenas[:MOST_PANELS]
    labels = [label for label in looks if any(row.label == label and row.feasible for _, rows in shown for row in rows)]
    handles = [
        Line2D([], [], color=INK, marker="o", markersize=5, label="mean, 95 % interval"),
        Line2D([], [], color=MUTED, marker="|", linestyle="none", markersize=8, label="worst budget"),
    ]
    height = 0.55 + 0.21 * len(labels)
    columns = min(3, len(shown))
    figure, axes = panels(
        len(shown), columns, 10.4 / columns if columns > 1 else 6.6, height, legend_height(handles, 10.4) + 0.15, sharey=True
    )
    for ax, (arena, rows) in zip(axes, shown):
        stick = yardstick(rows) or POINTS
        for i, label in enumerate(labels):
            values = regrets([row for row in rows if row.label == label], stick)
            average = mean(values)
            if average is None:
                continue
            low, high = bootstrap_mean(values)
            if low is not None and high is not None:
                ax.plot([low, high], [i, i], color=looks[label].colour, linewidth=2)
            ax.plot([average], [i], marker=looks[label].marker, color=looks[label].colour, markersize=6, linestyle="none")
            ax.plot([max(values)], [i], marker="|", color=MUTED, markersize=8, linestyle="none")
        ax.set_title(arena_words(*arena), loc="left", fontweight="normal")
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.4, -0.6)
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.set_xlabel(f"regret ({stick.unit})")
    legend_below(figure, handles)
    caption = "Further left is better; 0 is the proven bound."
    if len(shown) < len(arenas):
        caption += f" The first {len(shown)} of {len(arenas)} platforms and workloads."
    return [Drawn("regret", "Regret against the proven bound", caption, figure, "regret")]
