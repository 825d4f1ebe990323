"""Tells two contenders' plans apart under one budget: which shards got other bits, and why each says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from chosen import planned
from palette import Look
from results import Budget, PlanFile, Results, Row
from tables import Table, quantity, words
from wording import NOTHING, budget_words, ms, points, ranges, size

MOST_LINES = 240


@dataclass
class Difference:
    """What b does otherwise than a."""

    title: str
    verdict: str  # one line
    table: Optional[Table]


@dataclass
class DifferencesAt:
    title: str
    told: list[Difference]


def _bits_words(bits: int, preloaded: bool) -> str:
    name = "absent" if bits == 0 else "exact" if bits >= 32 else f"{bits} bits"
    return f"{name}, resident" if preloaded else name


@dataclass(frozen=True)
class _Change:
    layer: int
    bits_a: int
    bits_b: int
    held_a: bool
    held_b: bool
    why_a: str
    why_b: str


def changes(a: PlanFile, b: PlanFile) -> dict[_Change, list[int]]:
    """Slices by what changes; those of one layer with equal bits and reasons stand together."""
    found: dict[_Change, list[int]] = {}
    for place in sorted(a.shards.keys() | b.shards.keys()):
        mine, other = a.shards.get(place), b.shards.get(place)
        bits_a, bits_b = mine.bits if mine else 0, other.bits if other else 0
        held_a, held_b = bool(mine and mine.preloaded), bool(other and other.preloaded)
        if bits_a == bits_b and held_a == held_b:
            continue
        change = _Change(place[0], bits_a, bits_b, held_a, held_b, a.reasons.get(place, ""), b.reasons.get(place, ""))
        found.setdefault(change, []).append(place[1])
    return found


def _loss_effect(a: PlanFile, b: PlanFile, layer: int, slices: list[int]) -> Optional[float]:
    """Of the whole line, where both files tell the loss of each of its shards."""
    places = [(layer, j) for j in slices]
    if any(place not in plan.losses for plan in (a, b) for place in places):
        return None
    return sum(b.losses[place] - a.losses[place] for place in places)


def _counts(found: dict[_Change, list[int]]) -> str:
    def shards(keep: Callable[[_Change], bool]) -> int:
        return sum(len(slices) for change, slices in found.items() if keep(change))

    parts = [
        (shards(lambda c: 0 < c.bits_a < c.bits_b), "get more bits"),
        (shards(lambda c: c.bits_a > c.bits_b > 0), "fewer"),
        (shards(lambda c: c.bits_a == 0), "are added"),
        (shards(lambda c: c.bits_b == 0), "left out"),
        (shards(lambda c: c.bits_a == c.bits_b), "only held otherwise"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in parts if count)
    return f"shards: {told}" if told else "the same shards at the same bits"


def _effect(a: Row, b: Row, plan_a: PlanFile, plan_b: PlanFile) -> str:
    parts = []
    if a.accuracy is not None and b.accuracy is not None:
        parts.append(f"measured accuracy {points(100 * (b.accuracy - a.accuracy), sign=True)} points")
    if a.accuracy_predicted is not None and b.accuracy_predicted is not None:
        parts.append(f"predicted {points(100 * (b.accuracy_predicted - a.accuracy_predicted), sign=True)} points")
    if a.loss_predicted is not None and b.loss_predicted is not None:
        parts.append(f"loss {b.loss_predicted - a.loss_predicted:+.4f} nats".replace("-", "−"))
    for name, before, after, shown in (
        ("reads", plan_a.io_bytes, plan_b.io_bytes, size),
        ("peak", plan_a.peak_bytes, plan_b.peak_bytes, size),
        ("latency", plan_a.latency_ms, plan_b.latency_ms, ms),
    ):
        if before is not None and after is not None:
            parts.append(f"{name} {shown(before)} → {shown(after)}")
    if plan_a.depth is not None and plan_b.depth is not None and plan_a.depth != plan_b.depth:
        parts.append(f"exit after layer {plan_a.depth} → {plan_b.depth}")
    return "; ".join(parts)


def compare(a: Row, b: Row, plan_a: PlanFile, plan_b: PlanFile, looks: dict[str, Look]) -> Difference:
    found = changes(plan_a, plan_b)
    effects = {change: _loss_effect(plan_a, plan_b, change.layer, slices) for change, slices in found.items()}
    told = any(effect is not None for effect in effects.values())
    lines = []
    for change, slices in list(found.items())[:MOST_LINES]:
        more = change.bits_b - change.bits_a
        line = [
            quantity(change.layer, str(change.layer)),
            words(ranges(slices)),
            quantity(change.bits_a, _bits_words(change.bits_a, change.held_a)),
            words(change.why_a or NOTHING, "reason"),
            quantity(
                change.bits_b,
                _bits_words(change.bits_b, change.held_b),
                style="up" if more > 0 else "down" if more < 0 else "",
            ),
            words(change.why_b or NOTHING, "reason"),
        ]
        if told:
            effect = effects[change]
            line.append(quantity(effect, NOTHING if effect is None else f"{effect:+.5f}".replace("-", "−")))
        lines.append(line)
    columns = ["layer", "slices", a.label, f"why, says {a.label}", b.label, f"why, says {b.label}"] + (
        ["loss, nats"] if told else []
    )
    left = len(found) - len(lines)
    table = (
        Table("", columns, lines, f"{left} further lines are left out." if left > 0 else "", numeric={0}) if lines else None
    )
    whole = _effect(a, b, plan_a, plan_b)
    return Difference(f"{a.label} → {b.label}", _counts(found) + (f". Effect: {whole}." if whole else "."), table)


def couples(labels: list[str], base: str, reference: str) -> list[tuple[str, str]]:
    """All, of up to three; of more the baseline against each, then each against the reference."""
    if len(labels) <= 3:
        return [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    base = base if base in labels else labels[0]
    listed = [(base, label) for label in labels if label != base]
    if reference in labels:
        listed += [(label, reference) for label in labels if label not in (base, reference)]
    return listed


def differences_at(results: Results, budget: Budget, rows: list[Row], looks: dict[str, Look]) -> Optional[DifferencesAt]:
    found = planned(results, rows)
    listed = []
    for a, b in couples(list(found), results.named("baseline", "sti"), results.named("reference", "optimal")):
        plan_a, plan_b = results.plan(found[a]), results.plan(found[b])
        if plan_a is not None and plan_b is not None:
            listed.append(compare(found[a], found[b], plan_a, plan_b, looks))
    return DifferencesAt(budget_words(budget), listed) if listed else None
