"""Reads what `tessera compare` left in a directory: results.json and plans/*.json, as typed values.

Tolerant: a field that is missing, null, NaN or of another type is None (or empty); rows that are no objects are counted and
left out. Only a directory without a readable results.json is an error.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Optional


class ReportError(Exception):
    """One line for the user: what is wrong, and the remedy."""


def number(value: Any) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def items(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Budget:
    """What rows have in common that may be compared; None: no such limit, or not swept."""

    platform: str
    workload: str  # empty: one-shot requests
    latency_ms: Optional[float]
    memory_bytes: Optional[float]
    preload_bytes: Optional[float]

    def sort_key(self) -> tuple[Any, ...]:
        limits = (self.latency_ms, self.memory_bytes, self.preload_bytes)
        return (self.platform, self.workload, *(math.inf if limit is None else limit for limit in limits))


@dataclass(frozen=True)
class Row:
    """One run of one contender under one budget. Accuracies are shares, gap and regret points."""

    platform: str
    workload: str
    policy: str
    label: str
    model: str
    latency_ms: Optional[float]
    memory_bytes: Optional[float]
    preload_bytes: Optional[float]
    seed: Optional[float]
    feasible: bool
    depth: Optional[float]
    width: Optional[float]
    mean_bits: Optional[float]
    predicted_latency_ms: Optional[float]
    latency_ms_achieved: Optional[float]
    latency_p50_ms: Optional[float]
    latency_p95_ms: Optional[float]
    latency_p99_ms: Optional[float]
    accuracy: Optional[float]
    accuracy_low: Optional[float]
    accuracy_high: Optional[float]
    accuracy_predicted: Optional[float]
    accuracy_examples: Optional[float]
    loss_predicted: Optional[float]
    peak_bytes: Optional[float]
    io_bytes: Optional[float]
    plan_us: Optional[float]
    bound: Optional[float]
    gap: Optional[float]
    regret: Optional[float]
    loss_bound: Optional[float]
    loss_gap: Optional[float]
    loss_regret: Optional[float]
    infeasible_requests: Optional[float]
    requests: Optional[float]
    misses: Optional[float]
    plan_hash: str
    accuracy_key: str  # equal: computed with the same weights, and so the same answers
    error: str
    knobs: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def latency(self) -> Optional[float]:
        """Achieved; of a sequence of requests the median."""
        return self.latency_ms_achieved if self.latency_ms_achieved is not None else self.latency_p50_ms


_TEXTS = ("platform", "workload", "policy", "model", "plan_hash", "accuracy_key", "error")
_OWN = ("label", "feasible", "knobs")
_NUMBERS = tuple(name for name in Row.__dataclass_fields__ if name not in _TEXTS + _OWN)


def read_row(item: dict[str, Any]) -> Row:
    values: dict[str, Any] = {name: text(item.get(name)) for name in _TEXTS}
    values.update({name: number(item.get(name)) for name in _NUMBERS})
    knobs = item.get("knobs")
    error = item.get("error")
    values["error"] = error if isinstance(error, str) else "" if error is None else json.dumps(error)
    values["platform"] = values["platform"] or "unnamed platform"
    values["label"] = text(item.get("label")) or values["policy"] or "unnamed policy"
    # A run that says nothing about it counts as feasible where it answered.
    values["feasible"] = item["feasible"] is True if "feasible" in item else values["latency_ms_achieved"] is not None
    return Row(**values, knobs=knobs if isinstance(knobs, dict) else {})


@dataclass(frozen=True)
class Shard:
    layer: int
    slice: int
    bits: int
    preloaded: bool


@dataclass(frozen=True)
class Lane:
    """One task on one device, predicted."""

    device: str
    name: str
    kind: str
    layer: int  # -1: of no layer
    bits: int  # 0: no load of shards
    start_ms: float
    end_ms: float

    @property
    def is_load(self) -> bool:
        return self.kind.startswith("load") or (not self.kind and self.name.startswith(("load", "rows")))

    @property
    def is_compute(self) -> bool:
        return not self.is_load and not self.kind.startswith("transfer")


@dataclass(frozen=True)
class PlanFile:
    hash: str
    depth: Optional[int]
    shards: dict[tuple[int, int], Shard]
    reasons: dict[tuple[int, int], str]
    losses: dict[tuple[int, int], float]  # of shards as planned, in nats; empty where the file does not tell
    lanes: list[Lane]
    latency_ms: Optional[float]
    peak_bytes: Optional[float]
    io_bytes: Optional[float]
    accuracy: Optional[float]


def _whole(value: Any, default: int) -> int:
    as_number = number(value)
    return default if as_number is None or not float(as_number).is_integer() else int(as_number)


def _place(item: dict[str, Any]) -> Optional[tuple[int, int]]:
    place = (_whole(item.get("layer"), -1), _whole(item.get("slice"), -1))
    # A wild index would blow up every grid drawn from it.
    return place if 0 <= place[0] < 4096 and 0 <= place[1] < 4096 else None


def _read_lane(item: dict[str, Any]) -> Optional[Lane]:
    start, end = number(item.get("start_ms")), number(item.get("end_ms"))
    if start is None or end is None or end < start:
        return None
    bits = item.get("bits")
    if isinstance(bits, list):  # of a load of several bitwidths: the most
        bits = max((_whole(b, 0) for b in bits), default=0)
    return Lane(
        device=text(item.get("device")) or "?",
        name=text(item.get("name")) or text(item.get("task")),
        kind=text(item.get("kind")),
        layer=_whole(item.get("layer"), -1),
        bits=max(0, _whole(bits, 0)),
        start_ms=start,
        end_ms=end,
    )


def _reasons(document: dict[str, Any], plan: dict[str, Any]) -> Iterable[tuple[tuple[int, int], str, Optional[float]]]:
    """From "explain" as a list of reasons, or as the object of `plan --explain` that holds them under "shards"."""
    for explain in (plan.get("explain"), document.get("explain")):
        for item in items(explain.get("shards") if isinstance(explain, dict) else explain):
            place = _place(item)
            if place is not None:
                yield place, text(item.get("reason")), number(item.get("loss"))


def read_plan(name: str, document: Any) -> Optional[PlanFile]:
    if not isinstance(document, dict):
        return None
    inner = document.get("plan")
    plan = inner if isinstance(inner, dict) else document
    shards, reasons, losses = {}, {}, {}
    for item in items(plan.get("shards")):
        place = _place(item)
        bits = _whole(item.get("bits"), 0)
        if place is None or bits <= 0:
            continue
        shards[place] = Shard(*place, bits, item.get("preloaded") is True)
        loss = number(item.get("loss"))
        if loss is not None:
            losses[place] = loss
    for place, reason, loss in _reasons(document, plan):
        if reason:
            reasons[place] = reason
        if loss is not None:
            losses.setdefault(place, loss)
    listed = document.get("lanes", plan.get("lanes", plan.get("timeline")))
    lanes = [lane for lane in map(_read_lane, items(listed)) if lane is not None]
    found = plan.get("predicted")
    predicted: dict[str, Any] = found if isinstance(found, dict) else {}
    depth = number(plan.get("depth"))
    return PlanFile(
        hash=name,
        depth=None if depth is None else int(depth),
        shards=shards,
        reasons=reasons,
        losses=losses,
        lanes=sorted(lanes, key=lambda lane: (lane.start_ms, lane.end_ms)),
        latency_ms=number(predicted.get("latency_ms")),
        peak_bytes=number(predicted.get("peak_bytes")),
        io_bytes=number(predicted.get("io_bytes")),
        accuracy=number(predicted.get("accuracy")),
    )


@dataclass
class Results:
    directory: Path
    version: str
    experiment: dict[str, Any]
    rows: list[Row]
    pairs: list[dict[str, Any]]
    raw: dict[str, Any]
    remarks: list[str]  # what could not be read, for the report's head
    swept_preload: frozenset[str] = frozenset()  # platforms whose preload buffer is one of the budgets
    _plans: dict[str, Optional[PlanFile]] = field(default_factory=dict)

    def plan(self, row: Row) -> Optional[PlanFile]:
        """Read when asked for: a sweep leaves thousands."""
        name = row.plan_hash
        if not name or "/" in name or name.startswith("."):
            return None
        if name not in self._plans:
            try:
                document = json.loads((self.directory / "plans" / f"{name}.json").read_text(encoding="utf-8"))
                self._plans[name] = read_plan(name, document)
            except FileNotFoundError:
                self._plans[name] = None
            except (OSError, ValueError, RecursionError) as error:
                self.remarks.append(f"plans/{name}.json cannot be read ({error}); it is left out")
                self._plans[name] = None
        return self._plans[name]

    def budget_of(self, row: Row) -> Budget:
        preload = row.preload_bytes if row.platform in self.swept_preload else None
        return Budget(row.platform, row.workload, row.latency_ms, row.memory_bytes, preload)

    def by_budget(self) -> dict[Budget, list[Row]]:
        groups: dict[Budget, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(self.budget_of(row), []).append(row)
        return dict(sorted(groups.items(), key=lambda entry: entry[0].sort_key()))

    def labels(self) -> list[str]:
        """Contenders in the order in which they were listed."""
        return list(dict.fromkeys(row.label for row in self.rows))

    def arenas(self) -> list[tuple[str, str]]:
        """(platform, workload), in order."""
        return list(dict.fromkeys((row.platform, row.workload) for row in self.rows))

    def named(self, role: str, fallback: str) -> str:
        """The label that the experiment calls its "baseline" or "reference"; empty where it does not compete."""
        labels = self.labels()
        wanted = text(self.experiment.get(role)) or fallback
        if wanted in labels:
            return wanted
        return next((row.label for row in self.rows if row.policy == wanted and not row.knobs), "")


def _swept_preload(rows: list[Row]) -> frozenset[str]:
    """A contender with two preload budgets on one platform: the buffer is swept there, and is no setting of its own."""
    seen: dict[tuple[str, str], set[Optional[float]]] = {}
    for row in rows:
        if number(row.knobs.get("preload")) is not None:  # bytes: the contender's own; "on" and "off" are sti's knob
            continue
        seen.setdefault((row.platform, row.label), set()).add(row.preload_bytes)
    return frozenset(platform for (platform, _), preloads in seen.items() if len(preloads) > 1)


def read_results(directory: Path) -> Results:
    if not directory.is_dir():
        raise ReportError(f"{directory}: no such directory; give the one that `tessera compare --out` wrote")
    path = directory / "results.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{path}: missing; `tessera compare` writes it when all is done: run it again to go on") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{path}: cannot be read as JSON: {error}; run `tessera compare` again") from None
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        raise ReportError(f"{path}: holds no list of rows; expected what `tessera compare` writes")
    listed = document["rows"]
    rows = [read_row(item) for item in items(listed)]
    remarks = [] if len(rows) == len(listed) else [f"{len(listed) - len(rows)} rows are no objects; they are left out"]
    experiment = document.get("experiment")
    if not isinstance(experiment, dict):
        experiment = {"name": text(experiment)} if isinstance(experiment, str) else {}
    return Results(
        directory=directory,
        version=text(document.get("tessera")),
        experiment=experiment,
        rows=rows,
        pairs=items(document.get("pairs")),
        raw=document,
        remarks=remarks,
        swept_preload=_swept_preload(rows),
    )
