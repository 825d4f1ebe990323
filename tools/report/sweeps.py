"""Draws the figures that answer one question each: sweeps of preload and of IO speed, ablations, gap to the optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Optional

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from drawing import Drawn, label_below, legend_below, legend_height, number_axis, panels, policy_handle
from fronts import Worth, chosen_panels, worth_of
from palette import INK, MUTED, Look, looks
from regret import Yardstick, regrets, yardstick
from results import Budget, Results, Row, items, number, text
from significance import bootstrap_mean, mean
from wording import arena_words, file_word, ms, plain, size


@dataclass(frozen=True)
class Line:
    """Of one contender: y over x, with the spread of what was averaged."""

    label: str
    points: list[tuple[float, float, Optional[float], Optional[float]]]  # x, mean, lowest, highest
    measured: bool


def _line(
    label: str,
    rows: list[Row],
    x_of: Callable[[Row], Optional[float]],
    y_of: Callable[[Row], Optional[float]],
    measured: bool,
) -> Optional[Line]:
    by_x: dict[float, list[float]] = {}
    for row in rows:
        x, y = x_of(row), y_of(row)
        if row.label == label and row.feasible and x is not None and y is not None:
            by_x.setdefault(x, []).append(y)
    listed = [
        (x, mean(ys) or 0.0, min(ys) if len(ys) > 1 else None, max(ys) if len(ys) > 1 else None)
        for x, ys in sorted(by_x.items())
    ]
    return Line(label, listed, measured) if listed else None


def lines_of(rows: list[Row], labels: list[str], x_of: Callable[[Row], Optional[float]], worth: Worth) -> list[Line]:
    """Measured where the axis is, and predicted beside it."""
    found = []
    for label in labels:
        for measured, y_of in ((True, worth.of), (False, worth.predicted)):
            line = _line(label, rows, x_of, y_of, measured)
            if line is not None:
                found.append(line)
    return found


def _draw_lines(ax: Axes, lines: list[Line], look: dict[str, Look], positions: Optional[dict[float, int]] = None) -> None:
    """`positions`: x values stand evenly, at these places."""
    measured = {line.label for line in lines if line.measured}
    for line in lines:
        style = look[line.label]
        xs = [positions[x] if positions is not None else x for x, _, _, _ in line.points]
        ys = [y for _, y, _, _ in line.points]
        alone = not line.measured and line.label not in measured
        ax.plot(
            xs,
            ys,
            color=style.colour,
            linestyle=style.line if line.measured or alone else "none",
            marker=style.marker,
            markersize=5,
            markerfacecolor=style.colour if line.measured else "none",
            alpha=1.0 if line.measured or alone else 0.55,
        )
        if line.measured or alone:
            for x, (_, _, low, high) in zip(xs, line.points):
                if low is not None and high is not None and high > low:
                    ax.plot([x, x], [low, high], color=style.colour, linewidth=0.9, alpha=0.5)


def _handles(labels: list[str], look: dict[str, Look], worth: Optional[Worth]) -> list[Any]:
    handles: list[Any] = [policy_handle(label, look[label]) for label in labels]
    if worth is None or worth.measured:
        handles.append(
            Line2D([], [], linestyle="none", marker="o", markerfacecolor="none", markeredgecolor=MUTED, label="predicted")
        )
    return handles if worth is not None else handles[:-1]


def _figure(
    name: str,
    title: str,
    caption: str,
    titled: list[tuple[str, list[Line]]],
    worth_name: str,
    x_label: str,
    labels: list[str],
    look: dict[str, Look],
    worth: Optional[Worth],
    evenly: Optional[Callable[[float], str]],
    log_like: bool = False,
) -> Drawn:
    columns = 2 if len(titled) in (2, 4) else min(3, len(titled))
    handles = _handles(labels, look, worth)
    figure, axes = panels(
        len(titled),
        columns,
        10.4 / columns if columns > 1 else 6.6,
        2.9,
        legend_height(handles, 10.4 if columns > 1 else 6.6) + 0.2,
        sharey=True,
    )
    every = sorted({x for _, lines in titled for line in lines for x, _, _, _ in line.points})
    positions = {x: i for i, x in enumerate(every)} if evenly is not None else None
    for ax, (panel, lines) in zip(axes, titled):
        _draw_lines(ax, lines, look, positions)
        ax.set_title(panel, loc="left", fontweight="normal")
        if evenly is not None:
            ax.set_xticks(range(len(every)), [evenly(x) for x in every])
        elif apart(own := sorted({x for line in lines for x, _, _, _ in line.points})):
            ax.set_xticks(own, [plain(x) for x in own])
        else:
            number_axis(ax, "x", every)
    label_below(axes, x_label)
    figure.supylabel(worth_name, fontsize=8.5)
    legend_below(figure, handles)
    return Drawn(name, title, caption, figure, "sweeps")


def apart(values: list[float]) -> bool:
    """Ascending values that may all be ticks of a narrow axis."""
    return len(values) < 2 or min(b - a for a, b in zip(values, values[1:])) > 0.09 * (values[-1] - values[0])


def _by_latency(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Panels: at most six latency budgets."""
    budgets = sorted({(row.latency_ms,) for row in rows}, key=lambda key: math.inf if key[0] is None else key[0])
    return [
        ("any latency" if latency is None else f"latency {ms(latency)}", [row for row in rows if row.latency_ms == latency])
        for (latency,) in chosen_panels(list(budgets))
    ]


def _present(rows: list[Row], look: dict[str, Look]) -> list[str]:
    return [label for label in look if any(row.label == label and row.feasible for row in rows)]


def preload_sweep(results: Results) -> list[Drawn]:
    """Accuracy over the preload buffer's size, a panel a latency budget."""
    look, drawn = looks(results.labels()), []
    for arena in results.arenas():
        rows = [row for row in results.rows if (row.platform, row.workload) == arena and row.preload_bytes is not None]
        if len({row.preload_bytes for row in rows}) < 2 or not any(row.feasible for row in rows):
            continue
        worth, labels = worth_of(rows), _present(rows, look)
        titled = [(name, lines_of(mine, labels, lambda row: row.preload_bytes, worth)) for name, mine in _by_latency(rows)]
        caption = f"Means over memory budgets and seeds; bars from the lowest to the highest. {worth.note}".strip()
        drawn.append(
            _figure(
                _file(results, "preload", *arena),
                f"Preload buffer: {arena_words(*arena)}",
                caption,
                titled,
                worth.name,
                "preload buffer",
                labels,
                look,
                worth,
                lambda x: "0" if x == 0 else size(x),
            )
        )
    return drawn


def io_speeds(results: Results) -> dict[str, tuple[str, float]]:
    """By platform as rows name it: what was sped up, and how much."""
    found = {}
    for item in items(results.experiment.get("platforms")):
        name, speed = text(item.get("name")), number(item.get("io_speed"))
        if name and speed:
            found[name] = (name[: name.rindex(" io x")] if " io x" in name else name, speed)
    return found


def io_sweep(results: Results) -> list[Drawn]:
    """Accuracy, and bits, over the speed of storage against that of compute."""
    look, speeds, drawn = looks(results.labels()), io_speeds(results), []
    for base, workload in dict.fromkeys(
        (speeds[row.platform][0], row.workload) for row in results.rows if row.platform in speeds
    ):
        rows = [
            row
            for row in results.rows
            if row.platform in speeds and speeds[row.platform][0] == base and row.workload == workload
        ]
        if len({speeds[row.platform][1] for row in rows}) < 2 or not any(row.feasible for row in rows):
            continue
        labels, worth = _present(rows, look), worth_of(rows)

        def speed(row: Row) -> Optional[float]:
            return speeds[row.platform][1]

        titled = [(name, lines_of(mine, labels, speed, worth)) for name, mine in _by_latency(rows)]
        caption = (
            "1: the platform as described; 2: storage is twice as fast, compute as before. Means over memory budgets and "
            f"seeds; bars from the lowest to the highest. {worth.note}"
        ).strip()
        drawn.append(
            _figure(
                _file(results, "io-ratio", base, workload),
                f"IO against compute: {arena_words(base, workload)}",
                caption,
                titled,
                worth.name,
                "speed of loads, compute fixed",
                labels,
                look,
                worth,
                lambda x: f"× {plain(x)}",
            )
        )
    return drawn


def _knob(row: Row, name: str) -> str:
    return str(row.knobs.get(name, ""))


def _rest_of(row: Row) -> tuple[str, str]:
    """All but the order."""
    return row.policy, str(sorted((name, str(value)) for name, value in row.knobs.items() if name != "importance"))


def _with_and_without_order(rows: list[Row]) -> list[Row]:
    """Of contenders that compete with random order and, the rest alike, with the profiled one."""
    drawn = {_rest_of(row) for row in rows if _knob(row, "importance") == "random"}
    profiled = {_rest_of(row) for row in rows if _knob(row, "importance") in ("", "profile")}
    return [row for row in rows if _rest_of(row) in drawn & profiled]


def importance_order(results: Results) -> list[Drawn]:
    """Profiled against random order of upgrades, the rest alike."""
    look, drawn = looks(results.labels()), []
    for arena in results.arenas():
        rows = _with_and_without_order([row for row in results.rows if (row.platform, row.workload) == arena])
        if not any(row.feasible for row in rows):
            continue
        worth, labels = worth_of(rows), _present(rows, look)
        by_memory: dict[Optional[float], list[Row]] = {}
        for row in rows:
            by_memory.setdefault(row.memory_bytes, []).append(row)
        keys = chosen_panels([(memory,) for memory in sorted(by_memory, key=lambda m: math.inf if m is None else m)])
        titled = [
            (
                "any memory" if memory is None else f"memory {size(memory)}",
                lines_of(by_memory[memory], labels, lambda row: row.latency_ms, worth),
            )
            for (memory,) in keys
        ]
        caption = f"Random orders: mean over seeds, bars from the lowest to the highest. {worth.note}".strip()
        drawn.append(
            _figure(
                _file(results, "importance", *arena),
                f"Importance against random order: {arena_words(*arena)}",
                caption,
                titled,
                worth.name,
                "latency budget (ms)",
                labels,
                look,
                worth,
                None,
            )
        )
    return drawn


def paired_differences(
    results: Results, rows: list[Row], full: str, variant: str, y_of: Callable[[Row], Optional[float]]
) -> list[float]:
    """variant less full, by budget and seed."""

    def by_cell(label: str) -> dict[tuple[Budget, Optional[float]], float]:
        return {
            (results.budget_of(row), row.seed): y
            for row in rows
            if row.label == label and row.feasible and (y := y_of(row)) is not None
        }

    whole, part = by_cell(full), by_cell(variant)
    return [part[cell] - whole[cell] for cell in whole if cell in part]


def _bar_panel(
    ax: Axes,
    results: Results,
    rows: list[Row],
    full: str,
    variants: list[str],
    look: dict[str, Look],
    y_of: Callable[[Row], Optional[float]],
) -> None:
    for i, variant in enumerate(variants):
        values = paired_differences(results, rows, full, variant, y_of)
        average = mean(values)
        if average is None:
            continue
        low, high = bootstrap_mean(values)
        ax.barh([i], [average], color=look[variant].colour, height=0.62)
        if low is not None and high is not None:
            ax.plot([low, high], [i, i], color=INK, linewidth=1.1)
    ax.axvline(0, color=MUTED, linewidth=0.9)
    ax.set_yticks(range(len(variants)), variants)
    ax.set_ylim(len(variants) - 0.4, -0.6)


def by_worth(results: Results, rows: list[Row]) -> list[tuple[Worth, list[Row]]]:
    """Platforms whose models are profiled, and those whose are not: points and nats cannot be averaged."""
    found: dict[str, tuple[Worth, list[Row]]] = {}
    for arena in results.arenas():
        mine = [row for row in rows if (row.platform, row.workload) == arena]
        if any(row.feasible for row in mine):
            worth = worth_of(mine)
            found.setdefault(worth.name, (worth, []))[1].extend(mine)
    return list(found.values())


def ablation(results: Results) -> list[Drawn]:
    """What is lost when one idea of a policy is switched off: each policy that competes with and without knobs."""
    drawn = []
    for policy in dict.fromkeys(row.policy for row in results.rows):
        rows = [row for row in results.rows if row.policy == policy]
        full = next((row.label for row in rows if not row.knobs), "")
        variants = [label for label in dict.fromkeys(row.label for row in rows) if label != full]
        if full and variants:
            drawn += [_ablation_of(results, mine, full, variants, worth) for worth, mine in by_worth(results, rows)]
    return drawn


def _ablation_of(results: Results, rows: list[Row], full: str, variants: list[str], worth: Worth) -> Drawn:
    look = looks(results.labels())
    sides = ([("measured", worth.of)] if worth.measured else []) + [("predicted", worth.predicted)]
    in_nats = "loss" in worth.name
    unit = "nats of loss, upside down" if in_nats else "points"
    figure, axes = panels(
        len(sides), 2, 10.4 / len(sides) if len(sides) > 1 else 6.6, 0.75 + 0.26 * len(variants), sharey=True
    )
    for ax, (name, y_of) in zip(axes, sides):
        _bar_panel(ax, results, rows, full, variants, look, y_of)
        ax.set_title(name, loc="left", fontweight="normal")
        ax.set_xlabel(f"against {full}, same budgets ({unit})")
    platforms = ", ".join(dict.fromkeys(row.platform for row in rows))
    caption = (
        f"Mean over {platforms}, budgets and seeds that both answered, with 95 % intervals (bootstrap over them). "
        "Left of 0: "
        f"{full} is better. {worth.note}"
    ).strip()
    return Drawn(
        _file(results, "ablation", full, "loss" if in_nats else "" if worth.measured else "predicted"),
        f"What each idea of {full} adds",
        caption,
        figure,
        "sweeps",
    )


def gap_to_optimal(results: Results) -> list[Drawn]:
    """Regret over the latency budget, a panel an arena; points and nats apart."""
    arenas: dict[str, list[tuple[str, list[Row], Yardstick]]] = {}
    for arena in results.arenas():
        rows = [row for row in results.rows if (row.platform, row.workload) == arena]
        stick = yardstick(rows)
        if stick is not None and regrets(rows, stick):
            arenas.setdefault(stick.unit, []).append((arena_words(*arena), rows, stick))
    return [_gap_of(results, unit, found[:6]) for unit, found in arenas.items()]


def _gap_of(results: Results, unit: str, arenas: list[tuple[str, list[Row], Yardstick]]) -> Drawn:
    look, titled = looks(results.labels()), []
    labels = _present([row for _, rows, _ in arenas for row in rows], look)
    for name, rows, stick in arenas:
        found = [_line(label, rows, lambda row: row.latency_ms, stick.regret, True) for label in labels]
        titled.append((name, [line for line in found if line is not None]))
    caption = "0 is the proven bound. Means over memory and preload budgets and seeds; bars from the lowest to the highest."
    return _figure(
        _file(results, "gap", "" if unit == "points" else "loss"),
        "Regret against the proven bound",
        caption,
        titled,
        f"regret ({unit})",
        "latency budget (ms)",
        labels,
        look,
        None,
        None,
    )


def name_of(results: Results) -> str:
    return text(results.experiment.get("name")) or results.directory.resolve().name


def _file(results: Results, kind: str, *parts: str) -> str:
    """Experiment `preload` and figure `preload` need not say it twice."""
    name = file_word(name_of(results))
    return file_word("" if name == kind else name, kind, *parts)


FIGURES: dict[str, Callable[[Results], list[Drawn]]] = {
    "preload": preload_sweep,
    "io-ratio": io_sweep,
    "importance": importance_order,
    "ablation": ablation,
    "gap": gap_to_optimal,
}
