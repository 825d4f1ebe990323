"""Draws accuracy over latency and over memory: each policy's points and front, with intervals, one figure an arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from drawing import Drawn, label_below, legend_below, legend_height, number_axis, panels, policy_handle
from palette import MUTED, Look
from pareto import front
from results import Budget, Results, Row
from significance import mean
from wording import MIB, arena_words, file_word, ms, size

MOST_PANELS = 6


@dataclass(frozen=True)
class Worth:
    """What stands on the y axis of an arena, and why."""

    name: str
    measured: bool
    note: str
    of: Callable[[Row], Optional[float]]
    predicted: Callable[[Row], Optional[float]]


def _percent(share: Optional[float]) -> Optional[float]:
    return None if share is None else 100 * share


def worth_of(rows: list[Row]) -> Worth:
    """Measured accuracy where there is any; else predicted; else what the model loses."""
    if any(row.accuracy is not None for row in rows):
        return Worth(
            "measured accuracy (%)",
            True,
            "",
            lambda row: _percent(row.accuracy),
            lambda row: _percent(row.accuracy_predicted),
        )
    if any(row.accuracy_predicted is not None for row in rows):
        return Worth(
            "predicted accuracy (%)",
            False,
            "Accuracy was not measured here: all points are predicted (hollow).",
            lambda row: None,
            lambda row: _percent(row.accuracy_predicted),
        )
    note = "This model has no accuracy profile: the axis is the predicted loss, upside down (0: nothing is lost); hollow."
    return Worth(
        "− predicted loss (nats)",
        False,
        note,
        lambda row: None,
        lambda row: None if row.loss_predicted is None else -row.loss_predicted,
    )


@dataclass(frozen=True)
class Point:
    """Of one contender under one budget, the mean over seeds."""

    x: float
    y: float
    low: Optional[float]
    high: Optional[float]


def _mean_of(values: list[Optional[float]]) -> Optional[float]:
    return mean([value for value in values if value is not None])


def measured_point(rows: list[Row], worth: Worth, cost: Callable[[Row], Optional[float]]) -> Optional[Point]:
    used = [row for row in rows if worth.of(row) is not None and cost(row) is not None]
    x, y = _mean_of([cost(row) for row in used]), _mean_of([worth.of(row) for row in used])
    if x is None or y is None:
        return None
    low, high = (_mean_of([_percent(getattr(row, name)) for row in used]) for name in ("accuracy_low", "accuracy_high"))
    return Point(x, y, low, high)


def predicted_point(rows: list[Row], worth: Worth, cost: Callable[[Row], Optional[float]]) -> Optional[Point]:
    used = [row for row in rows if worth.predicted(row) is not None and cost(row) is not None]
    x, y = _mean_of([cost(row) for row in used]), _mean_of([worth.predicted(row) for row in used])
    return None if x is None or y is None else Point(x, y, None, None)


@dataclass(frozen=True)
class Axis:
    """What is swept along x, and which other budget makes panels."""

    kind: str  # "latency" or "memory"
    label: str
    swept: Callable[[Budget], Optional[float]]
    other: Callable[[Budget], tuple[Optional[float], ...]]
    cost: Callable[[Row], Optional[float]]
    predicted_cost: Callable[[Row], Optional[float]]
    panel_name: Callable[[tuple[Optional[float], ...]], str]


def _mib(value: Optional[float]) -> Optional[float]:
    return None if value is None else value / MIB


def _preload_words(preload: Optional[float]) -> str:
    return "" if preload is None else f", preload {size(preload)}"


LATENCY = Axis(
    "latency",
    "latency in virtual time (ms)",
    lambda b: b.latency_ms,
    lambda b: (b.memory_bytes, b.preload_bytes),
    lambda row: row.latency,
    lambda row: row.predicted_latency_ms or row.latency,
    lambda key: ("any memory" if key[0] is None else f"memory {size(key[0])}") + _preload_words(key[1]),
)
MEMORY = Axis(
    "memory",
    "peak memory (MiB)",
    lambda b: b.memory_bytes,
    lambda b: (b.latency_ms, b.preload_bytes),
    lambda row: _mib(row.peak_bytes),
    lambda row: _mib(row.peak_bytes),
    lambda key: ("any latency" if key[0] is None else f"latency {ms(key[0])}") + _preload_words(key[1]),
)


def chosen_panels(keys: list[tuple[Optional[float], ...]]) -> list[tuple[Optional[float], ...]]:
    """At most MOST_PANELS, evenly spread, the first and the last among them."""
    if len(keys) <= MOST_PANELS:
        return keys
    return [keys[round(i * (len(keys) - 1) / (MOST_PANELS - 1))] for i in range(MOST_PANELS)]


Cells = dict[Budget, list[Row]]


def panel_cells(cells: Cells, axis: Axis) -> dict[tuple[Optional[float], ...], Cells]:
    """By the other budget; all in one panel where the swept one has a single value."""
    if len({axis.swept(budget) for budget in cells}) < 2:
        return {(): cells}
    split: dict[tuple[Optional[float], ...], Cells] = {}
    for budget, rows in cells.items():
        split.setdefault(axis.other(budget), {})[budget] = rows
    return split


def _steps(points: list[Point]) -> tuple[list[float], list[float]]:
    kept = [points[i] for i in front([(point.x, point.y) for point in points])]
    return [point.x for point in kept], [point.y for point in kept]


def _draw_policy(ax: Axes, look: Look, stressed: bool, measured: list[Point], predicted: list[Point]) -> None:
    if predicted:
        ax.plot(
            [p.x for p in predicted],
            [p.y for p in predicted],
            linestyle="none",
            marker=look.marker,
            markersize=5.5,
            markerfacecolor="none",
            markeredgecolor=look.colour,
            markeredgewidth=0.9,
            alpha=0.8,
            zorder=3,
        )
    shown = measured or predicted
    xs, ys = _steps(shown)
    ax.plot(
        xs, ys, drawstyle="steps-post", color=look.colour, linestyle=look.line, linewidth=1.9 if stressed else 0.9, zorder=4
    )
    on_front = set(zip(xs, ys))
    for faint, kept in ((1.0, True), (0.45, False)):
        points = [point for point in measured if ((point.x, point.y) in on_front) == kept]
        _draw_measured(ax, look, points, faint)


def _draw_measured(ax: Axes, look: Look, points: list[Point], faint: float) -> None:
    """With their intervals; few calls, for each one costs a millisecond."""
    known = [(point.x, point.low, point.high) for point in points if point.low is not None and point.high is not None]
    if known:
        xs, lows, highs = zip(*known)
        ax.vlines(xs, lows, highs, color=look.colour, linewidth=1.0, alpha=0.5 * faint, zorder=2)
    if points:
        places = [point.x for point in points], [point.y for point in points]
        ax.plot(*places, look.marker, markersize=5, color=look.colour, alpha=faint, zorder=5)


def _draw_panel(ax: Axes, cells: Cells, axis: Axis, worth: Worth, looks: dict[str, Look], stressed: set[str]) -> list[float]:
    """Returns the costs that were drawn."""
    costs: list[float] = []
    for label, look in looks.items():
        mine = [[row for row in rows if row.label == label and row.feasible] for rows in cells.values()]
        measured = [point for point in (measured_point(rows, worth, axis.cost) for rows in mine) if point]
        predicted = [point for point in (predicted_point(rows, worth, axis.predicted_cost) for rows in mine) if point]
        if measured or predicted:
            _draw_policy(ax, look, label in stressed, measured, predicted)
            costs += [point.x for point in measured + predicted]
    if not costs:
        ax.text(0.5, 0.5, "nothing was feasible", transform=ax.transAxes, ha="center", va="center", color=MUTED)
    return costs


def draw_front(
    results: Results, arena: tuple[str, str], cells: Cells, axis: Axis, looks: dict[str, Look]
) -> Optional[Drawn]:
    rows = [row for group in cells.values() for row in group]
    worth = worth_of(rows)
    present = [label for label in looks if any(row.label == label and row.feasible for row in rows)]
    if not present:
        return None
    split = panel_cells(cells, axis)
    keys = chosen_panels(list(split))
    columns = 2 if len(keys) in (2, 4) or len(present) > 8 else 3
    width = 10.4 if len(keys) > 1 else 6.6
    each = width / min(len(keys), columns)
    handles = [policy_handle(label, looks[label]) for label in present]
    handles.append(
        Line2D([], [], linestyle="none", marker="o", markerfacecolor="none", markeredgecolor=MUTED, label="predicted")
    )
    figure, axes = panels(
        len(keys), columns, each, 3.0 if len(keys) > 1 else 3.6, legend_height(handles, width) + 0.2, sharey=True
    )
    stressed = {"elastic", results.named("baseline", "sti"), results.named("reference", "optimal")}
    costs: list[float] = []
    for ax, key in zip(axes, keys):
        costs += _draw_panel(ax, split[key], axis, worth, looks, stressed)
        if key:
            ax.set_title(axis.panel_name(key), loc="left", fontweight="normal")
    for ax in axes:
        number_axis(ax, "x", costs)
    label_below(axes, axis.label)
    figure.supylabel(worth.name, fontsize=8.5)
    legend_below(figure, handles)
    return Drawn(
        file_word("front", axis.kind, *arena),
        f"Accuracy and {axis.kind}: {arena_words(*arena)}",
        _caption(worth, axis, arena[1], len(split), len(keys)),
        figure,
        "fronts",
    )


def _caption(worth: Worth, axis: Axis, workload: str, all_panels: int, shown: int) -> str:
    parts = [f"A step line is a policy's front: the best that it reaches at no more {axis.kind}."]
    if worth.measured:
        parts.append(
            "Filled: measured, bars are 95 % intervals (bootstrap over the sentences); faint: dominated by another "
            "point of the same policy; hollow: predicted."
        )
    if axis is LATENCY and workload:
        parts.append("Latency of a sequence: the median of its requests, time in the queue included.")
    parts.append(worth.note)
    if shown < all_panels:
        parts.append(f"{shown} of {all_panels} budgets are shown.")
    return " ".join(part for part in parts if part)


def draw_fronts(results: Results, looks: dict[str, Look]) -> list[Drawn]:
    by_budget = results.by_budget()
    drawn = []
    for arena in results.arenas():
        cells = {budget: rows for budget, rows in by_budget.items() if (budget.platform, budget.workload) == arena}
        drawn += [draw_front(results, arena, cells, axis, looks) for axis in (LATENCY, MEMORY)]
    return [figure for figure in drawn if figure is not None]
