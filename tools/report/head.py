"""Says what was run and how to run it again; lists what went wrong."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import Any

from palette import Look
from results import Results, items, text
from tables import Cell, Table, contender, quantity, words
from wording import budget_words, count, ms, plain, size, workload_name


def title(results: Results) -> str:
    return text(results.experiment.get("title")) or text(results.experiment.get("name")) or results.directory.resolve().name


def _span(values: list[Any], shown: Any) -> str:
    known = sorted({value for value in values if value is not None})
    listed = [shown(value) for value in known]
    if len(listed) > 8:
        listed = listed[:2] + ["…"] + listed[-1:] + [f"({len(known)} in all)"]
    if any(value is None for value in values):
        listed.append("unlimited")
    return ", ".join(listed)


def file_of(value: Any) -> str:
    """A path, or an object that tells it."""
    return text(value.get("file")) if isinstance(value, dict) else text(value)


def _program(results: Results) -> str:
    """Its version, and of its build what tells it from others."""
    words = (text(results.experiment.get("program")) or results.version).split()
    return " ".join(["tessera"] + [word[:16] for word in words]) if words else ""


def facts(results: Results) -> list[tuple[str, str]]:
    rows, experiment = results.rows, results.experiment
    examples = {int(row.accuracy_examples) for row in rows if row.accuracy_examples}
    measured = sum(row.accuracy is not None for row in rows)
    data = file_of(experiment.get("data"))
    listed = [
        ("experiment", text(experiment.get("name"))),
        ("platforms", ", ".join(dict.fromkeys(row.platform for row in rows))),
        ("models", ", ".join(dict.fromkeys(row.model for row in rows if row.model))),
        ("workloads", ", ".join(dict.fromkeys(workload_name(row.workload) or "one-shot requests" for row in rows))),
        ("contenders", ", ".join(results.labels())),
        ("latency budgets", _span([row.latency_ms for row in rows], ms)),
        ("memory budgets", _span([row.memory_bytes for row in rows], size)),
        ("preload budgets", _span([row.preload_bytes for row in rows], size)),
        ("seeds", _span([row.seed for row in rows], lambda seed: plain(seed, 9))),
        ("data", data + (f" ({', '.join(str(n) for n in sorted(examples))} sentences)" if examples else "")),
        (
            "rows",
            f"{count(len(rows))}: {count(sum(row.feasible for row in rows))} feasible, "
            f"{count(measured)} with measured accuracy, "
            f"{count(sum(bool(row.error) for row in rows))} errors",
        ),
        ("program", _program(results)),
    ]
    return [(name, value) for name, value in listed if value]


def command(results: Results) -> str:
    """The one that was given, where the file tells; else made up from the experiment's file or name."""
    for holder in (results.raw, results.experiment):
        given = holder.get("command")
        if isinstance(given, str) and given:
            return given
        if isinstance(given, list) and given:
            return shlex.join(str(part) for part in given)
    name = text(results.experiment.get("name"))
    return f"tessera compare {shlex.quote(f'configs/experiments/{name}.toml')}" if name else _by_flags(results)


def _by_flags(results: Results) -> str:
    """Of a tournament without a file."""
    if not results.rows:
        return ""
    experiment = results.experiment

    def listed(values: list[Any]) -> str:
        return ",".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))

    platforms = [file_of(item) for item in items(experiment.get("platforms"))] or [row.platform for row in results.rows]
    words = ["tessera", "compare", "--policies", listed(results.labels()), "--platforms", listed(platforms)]
    for flag, values in (
        ("--latencies", [f"{plain(row.latency_ms, 9)}ms" for row in results.rows if row.latency_ms]),
        ("--memories", [f"{row.memory_bytes:.0f}B" for row in results.rows if row.memory_bytes]),
        ("--data", [file_of(experiment.get("data"))]),
        ("--seeds", [f"{row.seed:.0f}" for row in results.rows if row.seed is not None]),
    ):
        if listed(values):
            words += [flag, listed(values)]
    return shlex.join(words)


def experiment_text(results: Results) -> str:
    return json.dumps(results.experiment, indent=1, ensure_ascii=False, default=str) if results.experiment else ""


def error_table(results: Results, looks: dict[str, Look]) -> Table:
    """One line for a contender's message; all that errs is here, whatever else the report shows."""
    counted: Counter[tuple[str, str]] = Counter((row.label, row.error) for row in results.rows if row.error)
    first = {(row.label, row.error): results.budget_of(row) for row in reversed(results.rows) if row.error}
    lines: list[list[Cell]] = []
    for (label, error), times in counted.most_common(100):
        lines.append(
            [
                contender(label, looks[label].name),
                quantity(times, str(times)),
                words(error, "bad"),
                words(budget_words(first[(label, error)])),
            ]
        )
    note = "A policy's illegal or overdue answer counts as a row without a result."
    if len(counted) > 100:
        note += f" {len(counted) - 100} rarer messages are left out."
    return Table("Errors of policies", ["contender", "rows", "error", "first at"], lines, note)
