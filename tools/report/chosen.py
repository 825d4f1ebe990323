"""Chooses the budgets whose plans are shown one beside the other."""

from __future__ import annotations

import re
from typing import Optional

from results import Budget, ReportError, Results, Row
from wording import MIB

MOST_BUDGETS = 6

_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_SIZES = {"B": 1.0, "KiB": 1024.0, "MiB": MIB, "GiB": 1024 * MIB, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}


# A platform's name may hold a comma.
_PARTS = re.compile(r",\s*(?=(?:platform|workload|latency|memory|preload)\s*=)")


def _quantity(name: str, value: str, units: dict[str, float]) -> float:
    match = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]+)", value)
    try:
        if match and match[2] in units:
            return float(match[1]) * units[match[2]]
    except ValueError:
        pass
    raise ReportError(f"--at: {name}={value}: expected a number with a unit ({', '.join(units)})")


class Selector:
    """`--at platform=P,workload=W,latency=200ms,memory=8MiB,preload=1MiB`: budgets that agree in all that is named."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.wanted: dict[str, object] = {}
        for part in _PARTS.split(words):
            name, _, value = part.partition("=")
            name, value = name.strip(), value.strip()
            if name in ("platform", "workload"):
                self.wanted[name] = value
            elif name == "latency":
                self.wanted["latency_ms"] = _quantity(name, value, _TIMES)
            elif name in ("memory", "preload"):
                self.wanted[f"{name}_bytes"] = _quantity(name, value, _SIZES)
            else:
                raise ReportError(f"--at: unknown '{name}'; known: platform, workload, latency, memory, preload")

    def matches(self, budget: Budget) -> bool:
        for name, value in self.wanted.items():
            mine = getattr(budget, name)
            if isinstance(value, float):
                if mine is None or abs(mine - value) > 1e-6 * max(1.0, value):
                    return False
            elif mine != value:
                return False
        return True


def planned(results: Results, rows: list[Row]) -> dict[str, Row]:
    """The first row of each contender that has a plan to show, in the rows' order."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.feasible and row.label not in found and results.plan(row) is not None:
            found[row.label] = row
    return found


def _spread(rows: list[Row]) -> float:
    """How far the contenders are apart."""
    for name in ("accuracy_predicted", "loss_predicted", "accuracy"):
        values = [value for value in (getattr(row, name) for row in rows) if value is not None]
        if len(values) > 1:
            return max(values) - min(values)
    return 0.0


def _most_telling(groups: list[tuple[Budget, list[Row]]]) -> Optional[Budget]:
    """Where most contenders have plans, and those differ most; judged by rows, so that not every plan is read."""

    def key(entry: tuple[Budget, list[Row]]) -> tuple[int, float]:
        with_plan = [row for row in entry[1] if row.feasible and row.plan_hash]
        differing = len({row.plan_hash for row in with_plan}) > 1
        return len({row.label for row in with_plan}) if differing or len(with_plan) == 1 else 0, _spread(with_plan)

    best = max(groups, key=key, default=None)
    return best[0] if best is not None and any(row.plan_hash for row in best[1]) else None


def chosen_budgets(results: Results, selectors: list[Selector]) -> list[Budget]:
    """All that a selector names; without selectors the most telling one of each arena, the first MOST_BUDGETS arenas."""
    groups = results.by_budget()
    if selectors:
        found = [budget for budget in groups if any(selector.matches(budget) for selector in selectors)]
        for selector in selectors:
            if not any(selector.matches(budget) for budget in groups):
                raise ReportError(f"--at {selector.words}: no row has this budget; see the table of all rows in the report")
        return found
    telling = []
    for arena in results.arenas():
        mine = [entry for entry in groups.items() if (entry[0].platform, entry[0].workload) == arena]
        telling.append(_most_telling(mine))
    return [budget for budget in telling if budget is not None][:MOST_BUDGETS]
