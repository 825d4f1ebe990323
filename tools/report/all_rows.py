"""The table of every row, and what of it everyone wants to see first."""

from __future__ import annotations

from palette import Look
from results import Results, Row
from tables import Cell, Table, contender, quantity, words
from wording import NOTHING, arena_words, interval, percent, plain, points, size

MOST_ROWS = 5000


def _plain(value: float | None) -> Cell:
    return quantity(value, NOTHING if value is None else plain(value))


def _interval(row: Row) -> str:
    if row.accuracy_low is None or row.accuracy_high is None:
        return ""
    return interval(100 * row.accuracy_low, 100 * row.accuracy_high)


def _line(row: Row, look: Look, several_seeds: bool) -> list[Cell]:
    outcome = (
        words("error", "bad", row.error) if row.error else words("yes") if row.feasible else words("infeasible", "rest")
    )
    size_words = NOTHING if row.depth is None or row.width is None else f"{plain(row.depth)} × {plain(row.width)}"
    regret = (
        quantity(row.regret, points(row.regret))
        if row.regret is not None
        else quantity(row.loss_regret, NOTHING if row.loss_regret is None else f"{plain(row.loss_regret)} nats")
    )
    cells = [
        words(arena_words(row.platform, row.workload)),
        contender(row.label, look.name),
        _plain(row.latency_ms),
        quantity(row.memory_bytes, size(row.memory_bytes)),
        quantity(row.preload_bytes, size(row.preload_bytes)),
    ]
    if several_seeds:
        cells.append(_plain(row.seed))
    return cells + [
        outcome,
        words(size_words),
        _plain(row.mean_bits),
        _plain(row.predicted_latency_ms),
        _plain(row.latency_ms_achieved),
        quantity(row.accuracy_predicted, percent(row.accuracy_predicted, 2)),
        quantity(row.accuracy, percent(row.accuracy, 2)),
        words(_interval(row)),
        _plain(row.loss_predicted),
        regret,
        quantity(row.peak_bytes, size(row.peak_bytes)),
        quantity(row.io_bytes, size(row.io_bytes)),
        _plain(row.plan_us),
    ]


def row_table(results: Results, looks: dict[str, Look]) -> Table:
    several_seeds = len({row.seed for row in results.rows}) > 1
    columns = (
        ["platform", "contender", "latency budget ms", "memory budget", "preload"]
        + (["seed"] if several_seeds else [])
        + [
            "answered",
            "layers × slices",
            "mean bits",
            "predicted ms",
            "achieved ms",
            "predicted accuracy",
            "measured accuracy",
            "95 % interval",
            "predicted loss",
            "regret",
            "peak memory",
            "read",
            "planning µs",
        ]
    )
    lines = [_line(row, looks[row.label], several_seeds) for row in results.rows[:MOST_ROWS]]
    note = "" if len(results.rows) <= MOST_ROWS else f"The first {MOST_ROWS} of {len(results.rows)}; results.csv has all."
    return Table("All rows", columns, lines, note, filterable=True, folded=len(lines) > 30)
