"""Finds the points of a front: nothing costs less and is worth as much."""

from __future__ import annotations

from typing import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, worth) that no other dominates, by rising cost. Of equal points the first stands."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept
