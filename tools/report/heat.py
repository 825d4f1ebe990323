"""Draws the bits of every shard over layer and slice, contender by contender under one budget."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from chosen import planned
from drawing import Drawn, label_below, legend_below, legend_height, panels
from palette import GRID, PAPER, bits_colour, bits_ink
from results import Budget, PlanFile, Results, Row
from wording import NOTHING, budget_words, file_word, percent

MOST_PANELS = 12
_NUMBERED_UP_TO = 16  # layers or slices: more, and numbers in cells cannot be read
_VECTOR_UP_TO = 1200  # cells of a panel: more are drawn as pixels


def extent(results: Results, rows: list[Row], plans: list[PlanFile]) -> tuple[int, int]:
    """Layers and slices of the model, as far as any of its plans goes."""
    models = {row.model for row in rows}
    places = [place for plan in plans for place in plan.shards]
    likes = [row for row in results.rows if row.model in models]
    layers = max(
        [layer + 1 for layer, _ in places] + [int(row.depth) for row in likes if row.depth and row.depth <= 4096], default=1
    )
    slices = max(
        [j + 1 for _, j in places] + [int(row.width) for row in likes if row.width and row.width <= 4096], default=1
    )
    return layers, slices


def bits_grid(plan: PlanFile, layers: int, slices: int) -> np.ndarray:
    """[layers][slices], 0 where absent."""
    grid = np.zeros((layers, slices), dtype=int)
    for (layer, j), shard in plan.shards.items():
        if layer < layers and j < slices:
            grid[layer, j] = shard.bits
    return grid


def _cell_words(bits: int) -> str:
    return str(bits) if bits > 0 else ""


def _draw_cells(ax: Axes, grid: np.ndarray, kinds: list[int]) -> None:
    colours = ListedColormap([bits_colour(bits) for bits in kinds])
    codes = np.searchsorted(kinds, grid)
    norm = BoundaryNorm(np.arange(-0.5, len(kinds)), len(kinds))
    numbered = max(grid.shape) <= _NUMBERED_UP_TO
    ax.pcolormesh(
        codes,
        cmap=colours,
        norm=norm,
        edgecolors=PAPER if max(grid.shape) <= 32 else "none",
        linewidth=0.6,
        rasterized=grid.size > _VECTOR_UP_TO,
    )
    if numbered:
        for (layer, j), bits in np.ndenumerate(grid):
            if bits:
                ax.text(
                    j + 0.5,
                    layer + 0.5,
                    _cell_words(int(bits)),
                    ha="center",
                    va="center",
                    fontsize=6.3,
                    color=bits_ink(int(bits)),
                )


def _mark_resident(ax: Axes, plan: PlanFile, cells: int) -> None:
    """A frame around what was in memory before the request."""
    places = [place for place, shard in plan.shards.items() if shard.preloaded]
    if not places:
        return
    width = 1.3 if cells <= _NUMBERED_UP_TO else 0.5
    for layer, j in places:
        ax.plot(
            [j + 0.08, j + 0.92, j + 0.92, j + 0.08, j + 0.08],
            [layer + 0.08, layer + 0.08, layer + 0.92, layer + 0.92, layer + 0.08],
            color=_RESIDENT,
            linewidth=width,
            solid_joinstyle="miter",
        )


_RESIDENT = "#e4572e"


def _worth_words(row: Row) -> str:
    if row.accuracy is not None:
        return percent(row.accuracy)
    if row.accuracy_predicted is not None:
        return f"{percent(row.accuracy_predicted)} predicted"
    return "loss " + (NOTHING if row.loss_predicted is None else f"{row.loss_predicted:.3f}")


def _title(labels: list[str], row: Row) -> str:
    bits = "" if row.mean_bits is None else f", {row.mean_bits:.1f} bits"
    return f"{' = '.join(labels)}\n{_worth_words(row)}{bits}"


def same_plans(results: Results, rows: dict[str, Row]) -> list[tuple[list[str], Row, PlanFile]]:
    """Contenders with one plan, whatever reasons they give for it, share a panel."""
    found: dict[Any, tuple[list[str], Row, PlanFile]] = {}
    for label, row in rows.items():
        plan = results.plan(row)
        if plan is not None:
            bits = tuple(sorted((place, shard.bits, shard.preloaded) for place, shard in plan.shards.items()))
            found.setdefault((bits, tuple(plan.lanes)), ([], row, plan))[0].append(label)
    return list(found.values())


def _wrapped(labels: list[str], width: int) -> list[str]:
    """At most two names in full, then how many more; long ones cut."""
    short = [label if len(label) <= width else label[: width - 1] + "…" for label in labels]
    return short if len(short) <= 2 else [short[0], f"{len(short) - 1} others"]


def _handles(kinds: list[int], resident: bool) -> list[Any]:
    handles: list[Any] = [Patch(facecolor=bits_colour(bits), edgecolor=GRID, label=_bits_name(bits)) for bits in kinds]
    if resident:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="s",
                markersize=7,
                markerfacecolor="none",
                markeredgecolor=_RESIDENT,
                markeredgewidth=1.3,
                label="in memory before the request",
            )
        )
    return handles


def draw_heat(results: Results, budget: Budget, rows: list[Row]) -> Optional[Drawn]:
    shown = same_plans(results, planned(results, rows))
    if not shown:
        return None
    more = len(shown) - MOST_PANELS
    shown = shown[:MOST_PANELS]
    layers, slices = extent(results, [row for _, row, _ in shown], [plan for _, _, plan in shown])
    kinds = sorted({0} | {shard.bits for _, _, plan in shown for shard in plan.shards.values()})
    columns = min(4, len(shown))
    each = 10.4 / max(columns, 3)
    height = min(4.4, max(1.3, 0.5 + (each - 0.45) * layers / max(slices, 1))) + 0.35
    handles = _handles(kinds, any(shard.preloaded for _, _, plan in shown for shard in plan.shards.values()))
    figure, axes = panels(len(shown), columns, each, height, legend_height(handles, each * columns) + 0.25)
    for ax, (labels, row, plan) in zip(axes, shown):
        _draw_cells(ax, bits_grid(plan, layers, slices), kinds)
        _mark_resident(ax, plan, max(layers, slices))
        ax.set_title(
            _title(_wrapped(labels, 30 if len(labels) == 1 else 14), row), loc="left", fontsize=8.2, fontweight="normal"
        )
        ax.set_xlim(0, slices)
        ax.set_ylim(layers, 0)
        _index_axis(ax, layers, slices)
    label_below(axes, "slice")
    figure.supylabel("layer", fontsize=8.5)
    legend_below(figure, handles)
    caption = "The number is the bitwidth (32: exact)."
    alike = [" = ".join(labels) for labels, _, _ in shown if len(labels) > 1]
    if alike:
        caption += f" Contenders that planned the same share a panel: {'; '.join(alike)}."
    if more > 0:
        caption += f" {more} further plans are not shown."
    return Drawn(
        file_word("heat", budget_words(budget)),
        f"Bits over layer and slice: {budget_words(budget)}",
        caption,
        figure,
        "plans",
    )


def _bits_name(bits: int) -> str:
    return "absent" if bits <= 0 else "32 (exact)" if bits >= 32 else str(bits)


def _index_axis(ax: Axes, layers: int, slices: int) -> None:
    ax.grid(False)
    for axis, length in ((ax.xaxis, slices), (ax.yaxis, layers)):
        step = max(1, -(-length // 12))
        axis.set_ticks([i + 0.5 for i in range(0, length, step)], [str(i) for i in range(0, length, step)])
    ax.tick_params(length=0, labelsize=7)
    for spine in ax.spines.values():
        spine.set_visible(False)
