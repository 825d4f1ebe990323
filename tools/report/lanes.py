"""Draws what each device does when, as predicted: loads by their bits, computes, and the times when all computing waits."""

from __future__ import annotations

from typing import Any, Optional

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from chosen import planned
from drawing import Drawn, legend_below, legend_height, new_figure
from heat import same_plans
from palette import COMPUTE, GRID, INK, MUTED, PAPER, STALL, bits_colour, bits_ink
from results import Budget, Lane, PlanFile, Results, Row
from wording import budget_words, file_word, ms

MOST_PLANS = 10


def stalls(lanes: list[Lane]) -> list[tuple[float, float]]:
    """Spans of the request in which no device computes and nothing is transferred: it waits for storage."""
    busy = sorted((lane.start_ms, lane.end_ms) for lane in lanes if not lane.is_load and lane.end_ms > lane.start_ms)
    found, at = [], 0.0
    for start, end in busy:
        if start > at:
            found.append((at, start))
        at = max(at, end)
    return found


def devices_of(lanes: list[Lane]) -> list[str]:
    """Storage first, then by name."""
    loads = {lane.device for lane in lanes if lane.is_load}
    return sorted({lane.device for lane in lanes}, key=lambda name: (name not in loads, name))


def _bar_words(lane: Lane) -> str:
    for name, words in (("exit", "x"), ("embed", "e"), ("rows", "r")):
        if name in lane.name:
            return words
    return str(lane.layer) if lane.layer >= 0 else ""


def _colour(lane: Lane) -> str:
    if lane.is_load:
        return bits_colour(lane.bits) if lane.bits else MUTED
    return COMPUTE if lane.is_compute else GRID


def _draw_bars(ax: Axes, lanes: list[Lane], y: int, span: float) -> None:
    """One call a colour: a plan of 48 layers has thousands of bars."""
    by_colour: dict[str, list[tuple[float, float]]] = {}
    for lane in lanes:
        if lane.end_ms > lane.start_ms:
            by_colour.setdefault(_colour(lane), []).append((lane.start_ms, lane.end_ms - lane.start_ms))
    for colour, bars in by_colour.items():
        ax.broken_barh(bars, (y - 0.36, 0.72), facecolors=colour, edgecolors=PAPER, linewidth=0.5)
    right = -1.0  # of the last number: loads of one layer are numbered once, bars too narrow for a number not at all
    for lane in lanes:
        words, middle = _bar_words(lane), (lane.start_ms + lane.end_ms) / 2
        room = 0.0075 * span * len(words)
        if words and lane.end_ms - lane.start_ms > 1.25 * room and middle - right > room:
            ax.text(
                middle,
                y,
                words,
                ha="center",
                va="center",
                fontsize=6.2,
                color=bits_ink(lane.bits) if lane.is_load and lane.bits else bits_ink(2 if lane.is_compute else 32),
            )
            right = middle + room / 2


def _draw_plan(ax: Axes, top: int, names: list[str], plan: PlanFile, devices: list[str], span: float) -> None:
    for k, device in enumerate(devices):
        _draw_bars(ax, [lane for lane in plan.lanes if lane.device == device], top + k, span)
    waits = stalls(plan.lanes)
    if waits:
        ax.broken_barh([(a, b - a) for a, b in waits], (top + len(devices) - 0.62, 0.16), facecolors=STALL, linewidth=0)
    total = sum(b - a for a, b in waits)
    end = max((lane.end_ms for lane in plan.lanes), default=0.0)
    ax.plot([end, end], [top - 0.45, top + len(devices) - 0.55], color=INK, linewidth=0.9)
    words = f"{ms(end)}" + (f", waits {ms(total)}" if total > 0.001 * max(end, 1e-9) else ", never waits")
    ax.text(span * 1.015, top + (len(devices) - 1) / 2, words, va="center", fontsize=7.5, color=INK, clip_on=False)


def _y_labels(ax: Axes, blocks: list[tuple[list[str], list[str]]]) -> int:
    """Device names as ticks, contenders above their block; returns the number of rows used."""
    ticks, texts, at = [], [], 0
    for labels, devices in blocks:
        names = " = ".join(labels)
        ax.text(
            0,
            at - 0.52,
            names if len(names) <= 100 else names[:99] + "…",
            fontsize=8,
            fontweight="bold",
            color=INK,
            va="bottom",
            ha="left",
        )
        ticks += [at + k for k in range(len(devices))]
        texts += devices
        at += len(devices) + 1
    ax.set_yticks(ticks, texts)
    return at


def _handles(plans: list[PlanFile], deadline: bool) -> list[Any]:
    bits = sorted({lane.bits for plan in plans for lane in plan.lanes if lane.is_load and lane.bits})
    handles: list[Any] = [
        Patch(facecolor=bits_colour(b), label=f"load, {b if b < 32 else 'exact'}" + (" bits" if b < 32 else ""))
        for b in bits
    ]
    handles += [
        Patch(facecolor=MUTED, label="load of rows, exit head"),
        Patch(facecolor=COMPUTE, label="compute"),
        Patch(facecolor=STALL, label="waits for storage (critical)"),
    ]
    if deadline:
        handles.append(Line2D([], [], color=STALL, linestyle=(0, (3, 2)), label="latency budget"))
    return handles


def draw_lanes(results: Results, budget: Budget, rows: list[Row]) -> Optional[Drawn]:
    shown = [entry for entry in same_plans(results, planned(results, rows)) if entry[2].lanes]
    if not shown:
        return None
    more = len(shown) - MOST_PLANS
    shown = shown[:MOST_PLANS]
    blocks = [(labels, devices_of(plan.lanes)) for labels, _, plan in shown]
    span = max(max(lane.end_ms for lane in plan.lanes) for _, _, plan in shown)
    deadline = budget.latency_ms if budget.latency_ms is not None and budget.latency_ms <= 1.6 * max(span, 1e-9) else None
    span = max(span, deadline or 0.0) or 1.0
    handles = _handles([plan for _, _, plan in shown], deadline is not None)
    lines = sum(len(devices) + 1 for _, devices in blocks)
    figure = new_figure(10.4, 0.27 * lines + 0.75 + legend_height(handles, 10.4))
    ax = figure.subplots()
    used = _y_labels(ax, blocks)
    at = 0
    for labels, _, plan in shown:
        devices = devices_of(plan.lanes)
        _draw_plan(ax, at, labels, plan, devices, span)
        at += len(devices) + 1
    if deadline is not None:
        ax.axvline(deadline, color=STALL, linewidth=1.0, linestyle=(0, (3, 2)))
    ax.set_xlim(0, span * 1.005)
    ax.set_ylim(used - 0.4, -1.2)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=10))
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("predicted time since the request's arrival (ms)")
    legend_below(figure, handles)
    caption = "Numbers are layers; e embed, r rows, x exit head. Red: no device computes, the request waits for storage." + (
        f" {more} further plans are not shown." if more > 0 else ""
    )
    return Drawn(
        file_word("lanes", budget_words(budget)), f"Lanes over time: {budget_words(budget)}", caption, figure, "plans"
    )
