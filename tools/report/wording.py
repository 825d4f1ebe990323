"""Writes numbers and budgets as people read them: units, few digits."""

from __future__ import annotations

import math
import re
from typing import Optional

from results import Budget

MIB = 1024.0 * 1024.0
NOTHING = "–"


def plain(value: float, digits: int = 3) -> str:
    """`digits` significant ones, no exponent, no trailing zeros: 0.0123, 1.5, 41, 1428."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else NOTHING
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    shown = f"{value:.{min(decimals, 9)}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def ms(value: Optional[float]) -> str:
    return NOTHING if value is None else f"{plain(value)} ms"


def size(value: Optional[float]) -> str:
    if value is None:
        return NOTHING
    for unit, scale in (("GiB", MIB * 1024), ("MiB", MIB), ("KiB", 1024.0)):
        if abs(value) >= scale:
            return f"{plain(value / scale)} {unit}"
    return f"{plain(value)} B"


def percent(share: Optional[float], decimals: int = 1) -> str:
    return NOTHING if share is None else f"{100 * share:.{decimals}f} %"


def points(value: Optional[float], sign: bool = False) -> str:
    """Of differences between accuracies, in percent points."""
    if value is None:
        return NOTHING
    shown = f"{value:+.2f}" if sign else f"{value:.2f}"
    return shown.replace("-0.00", "0.00").replace("+0.00", "0.00").replace("-", "−")


def interval(low: Optional[float], high: Optional[float]) -> str:
    return "" if low is None or high is None else f"{points(low)} … {points(high)}"


def p_value(value: Optional[float]) -> str:
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def count(value: Optional[float]) -> str:
    return NOTHING if value is None else f"{value:,.0f}".replace(",", " ")


def budget_words(budget: Budget, platform: bool = True) -> str:
    words = [budget.platform] if platform else []
    if platform and budget.workload:
        words.append(workload_name(budget.workload))
    words.append("any latency" if budget.latency_ms is None else ms(budget.latency_ms))
    words.append("any memory" if budget.memory_bytes is None else size(budget.memory_bytes))
    if budget.preload_bytes is not None:
        words.append(f"preload {size(budget.preload_bytes)}")
    return ", ".join(words)


def workload_name(workload: str) -> str:
    """Of a file the stem."""
    stem = workload.rsplit("/", 1)[-1]
    return stem[:-5] if stem.endswith(".toml") else stem


def arena_words(platform: str, workload: str) -> str:
    return f"{platform}, {workload_name(workload)}" if workload else platform


def file_word(*parts: str) -> str:
    """A file name of small letters, digits and dashes."""
    joined = "-".join(part for part in parts if part).lower()
    return re.sub(r"[^a-z0-9.]+", "-", joined).strip("-.")[:100] or "figure"


def ranges(numbers: list[int]) -> str:
    """0–3, 5, 7–8"""
    runs: list[list[int]] = []
    for value in sorted(set(numbers)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}–{b}" if b > a + 1 else f"{a}, {b}" for a, b in runs)
