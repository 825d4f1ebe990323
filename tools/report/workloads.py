"""Tells of sequences of requests: deadline misses and the distribution of latency, queueing included."""

from __future__ import annotations

from typing import Optional

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from drawing import Drawn, label_below, legend_below, legend_height, number_axis, panels
from palette import INK, MUTED, STALL, Look
from results import Budget, Results, Row
from significance import mean
from tables import Cell, Table, contender, quantity, words
from wording import NOTHING, arena_words, budget_words, count, file_word, percent, plain, size

MOST_PANELS = 6


def sequences(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.workload or (row.requests or 0) > 1]


def miss_share(row: Row) -> Optional[float]:
    return row.misses / row.requests if row.misses is not None and row.requests else None


def _merged(rows: list[Row], name: str) -> Optional[float]:
    return mean([value for value in (getattr(row, name) for row in rows) if value is not None])


def _line(rows: list[Row], look: Look, where: str) -> list[Cell]:
    requests = sum(row.requests or 0 for row in rows)
    misses = sum(row.misses or 0 for row in rows)
    share = misses / requests if requests else None
    cells = [
        words(where),
        contender(rows[0].label, look.name),
        quantity(requests, count(requests)),
        quantity(misses, count(misses)),
        quantity(share, percent(share), style="bad" if share and share > 0.01 else ""),
    ]
    for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"):
        value = _merged(rows, name)
        cells.append(quantity(value, NOTHING if value is None else plain(value)))
    io, accuracy, peak = (_merged(rows, name) for name in ("io_bytes", "accuracy", "peak_bytes"))
    return cells + [quantity(io, size(io)), quantity(peak, size(peak)), quantity(accuracy, percent(accuracy))]


def workload_table(results: Results, looks: dict[str, Look]) -> Optional[Table]:
    lines = []
    for budget, rows in results.by_budget().items():
        for label, look in looks.items():
            mine = [row for row in sequences(rows) if row.label == label]
            if mine:
                lines.append(_line(mine, look, budget_words(budget)))
    if not lines:
        return None
    return Table(
        "Misses and latency",
        [
            "budget",
            "contender",
            "requests",
            "misses",
            "missed",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "read a request",
            "peak memory",
            "accuracy",
        ],
        lines,
        "Latency is from arrival to answer, time in the queue included; a miss is an answer after the latency budget, or "
        "none. Seeds are summed (requests, misses) or averaged. Marked: more than 1 % missed.",
        filterable=True,
        folded=len(lines) > 60,
    )


def _draw_budget(ax: Axes, rows: list[Row], labels: list[str], looks: dict[str, Look]) -> list[float]:
    seen: list[float] = []
    for i, label in enumerate(labels):
        mine = [row for row in rows if row.label == label]
        values = [_merged(mine, name) for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")]
        known = [value for value in values if value is not None]
        if not known:
            continue
        seen += known
        colour = looks[label].colour
        ax.plot([min(known), max(known)], [i, i], color=colour, linewidth=1.6)
        for value, marker, face in zip(values, ("o", "|", "o"), (colour, colour, "none")):
            if value is not None:
                ax.plot([value], [i], marker=marker, color=colour, markerfacecolor=face, markersize=6, linestyle="none")
        shares = [share for share in map(miss_share, mine) if share is not None]
        if shares:
            ax.text(1.01, i, percent(mean(shares)), transform=ax.get_yaxis_transform(), va="center", fontsize=7, color=INK)
    return seen


def draw_workloads(results: Results, looks: dict[str, Look]) -> list[Drawn]:
    drawn = []
    for arena in results.arenas():
        groups = [
            (budget, sequences(rows))
            for budget, rows in results.by_budget().items()
            if (budget.platform, budget.workload) == arena
        ]
        groups = [(budget, rows) for budget, rows in groups if any(row.latency_p50_ms is not None for row in rows)]
        if groups:
            drawn.append(_draw_arena(arena, groups, looks))
    return drawn


def _draw_arena(arena: tuple[str, str], groups: list[tuple[Budget, list[Row]]], looks: dict[str, Look]) -> Drawn:
    shown = (
        groups
        if len(groups) <= MOST_PANELS
        else [groups[round(i * (len(groups) - 1) / (MOST_PANELS - 1))] for i in range(MOST_PANELS)]
    )
    labels = [label for label in looks if any(row.label == label for _, rows in shown for row in rows)]
    handles = [
        Line2D([], [], color=INK, marker="o", linestyle="none", label="p50"),
        Line2D([], [], color=INK, marker="|", linestyle="none", label="p95"),
        Line2D([], [], color=INK, marker="o", markerfacecolor="none", linestyle="none", label="p99"),
        Line2D([], [], color=STALL, linestyle=(0, (3, 2)), label="latency budget"),
    ]
    columns = min(3, len(shown))
    figure, axes = panels(
        len(shown),
        columns,
        10.4 / columns if columns > 1 else 6.6,
        0.6 + 0.2 * len(labels),
        legend_height(handles, 10.4) + 0.3,
        sharey=True,
    )
    seen: list[float] = []
    for ax, (budget, rows) in zip(axes, shown):
        seen += _draw_budget(ax, rows, labels, looks)
        if budget.latency_ms is not None:
            ax.axvline(budget.latency_ms, color=STALL, linewidth=1.0, linestyle=(0, (3, 2)))
        ax.set_title(budget_words(budget, platform=False), loc="left", fontweight="normal")
        ax.set_title("missed", loc="right", fontsize=7, fontweight="normal", color=MUTED)
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.4, -0.6)
    for ax in axes:
        number_axis(ax, "x", seen)
    label_below(axes, "latency, time in the queue included (ms)")
    legend_below(figure, handles)
    caption = "The share of requests that missed the budget stands at the right."
    if len(shown) < len(groups):
        caption += f" {len(shown)} of {len(groups)} budgets are shown."
    return Drawn(file_word("latencies", *arena), f"Latencies: {arena_words(*arena)}", caption, figure, "workloads")
