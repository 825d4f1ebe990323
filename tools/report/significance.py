"""Tells chance from difference: Holm's correction, bootstrap means, exact McNemar, wins and losses."""

from __future__ import annotations

import math
from typing import Optional, Sequence

import numpy as np

LEVEL = 0.05
RESAMPLES = 2000


def holm(p_values: Sequence[Optional[float]]) -> list[Optional[float]]:
    """Adjusted by Holm's step-down (1979), in the order given. None stays None and is not counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[Optional[float]] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of that many sentences that only one of two got right."""
    n = only_a + only_b
    if n == 0:
        return 1.0
    log_half = n * math.log(0.5)
    tail = sum(
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + log_half)
        for k in range(min(only_a, only_b) + 1)
    )
    return min(1.0, 2.0 * tail)


def bootstrap_mean(values: Sequence[float], seed: int = 1) -> tuple[Optional[float], Optional[float]]:
    """95 % percentile interval of the mean; nothing below three values."""
    if len(values) < 3:
        return None, None
    sample = np.asarray(values, dtype=float)
    draws = np.random.RandomState(seed).randint(0, len(sample), size=(RESAMPLES, len(sample)))
    low, high = np.percentile(sample[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def mean(values: Sequence[float]) -> Optional[float]:
    return sum(values) / len(values) if values else None


def median(values: Sequence[float]) -> Optional[float]:
    return float(np.median(np.asarray(values, dtype=float))) if values else None
