"""Makes results as `tessera compare` writes them, from a toy of a model: for tests, and for looking at reports."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, Optional

MIB = 1 << 20
CONTENDERS = (
    "sti",
    "elastic",
    "optimal",
    "greedy-byte",
    "knapsack",
    "std-pipeline",
    "load-exec",
    "random",
    "sti(pass1=lowest)",
    "sti(importance=random)",
)
SKILL = {
    "optimal": 1.0,
    "elastic": 0.95,
    "knapsack": 0.85,
    "greedy-byte": 0.8,
    "sti": 0.7,
    "sti(pass1=lowest)": 0.65,
    "sti(importance=random)": 0.55,
    "std-pipeline": 0.45,
    "load-exec": 0.3,
    "random": 0.1,
}


def shards(layers: int, slices: int, budget: float, skill: float, chance: random.Random) -> list[dict[str, Any]]:
    """Prefix widths; more bits for larger budgets."""
    depth = max(1, min(layers, round(layers * min(1.0, budget * 1.6))))
    width = max(1, min(slices, round(slices * min(1.0, budget * 1.3))))
    found = []
    for layer in range(depth):
        for j in range(width):
            bits = min((2, 3, 4, 5, 6, 32), key=lambda b: abs(b - (2 + 9 * budget * skill * chance.uniform(0.4, 1.4))))
            if chance.random() < budget * skill * 0.3:
                bits = 32
            found.append(
                {
                    "layer": layer,
                    "slice": j,
                    "bits": bits,
                    "stored_bits": bits,
                    "device": "cpu0",
                    "preloaded": layer == 0 and j < 2,
                }
            )
    return found


def lanes(planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found, disk, cpu = [], 0.0, 1.0
    for layer in sorted({s["layer"] for s in planned}):
        mine = [s for s in planned if s["layer"] == layer and not s["preloaded"]]
        for bits in sorted({s["bits"] for s in mine}):
            held = [s["slice"] for s in mine if s["bits"] == bits]
            end = disk + len(held) * bits * 0.35
            found.append(
                {
                    "device": "disk0",
                    "name": f"load L{layer} {bits}b {held}",
                    "kind": "load",
                    "layer": layer,
                    "slices": held,
                    "bits": bits,
                    "start_ms": disk,
                    "end_ms": end,
                }
            )
            disk = end
        start = max(cpu, disk)
        cpu = start + 3.0 * len([s for s in planned if s["layer"] == layer])
        found.append(
            {
                "device": "cpu0",
                "name": f"layer L{layer}",
                "kind": "compute",
                "layer": layer,
                "slices": [],
                "bits": None,
                "start_ms": start,
                "end_ms": cpu,
            }
        )
    found.append(
        {
            "device": "cpu0",
            "name": "exit",
            "kind": "compute",
            "layer": None,
            "slices": [],
            "bits": None,
            "start_ms": cpu,
            "end_ms": cpu + 0.5,
        }
    )
    return found


def plan(layers: int, slices: int, budget: float, label: str, chance: random.Random) -> dict[str, Any]:
    planned = shards(layers, slices, budget, SKILL.get(label, 0.5), chance)
    listed = lanes(planned)
    io = sum(s["bits"] for s in planned) * 73728
    return {
        "depth": 1 + max(s["layer"] for s in planned),
        "width": 1 + max(s["slice"] for s in planned),
        "mean_bits": sum(s["bits"] for s in planned) / len(planned),
        "shards": planned,
        "predicted": {"latency_ms": listed[-1]["end_ms"], "peak_bytes": 2 * MIB + io // 3, "accuracy": None, "io_bytes": io},
        "explain": [
            {
                "layer": s["layer"],
                "slice": s["slice"],
                "reason": f"pass 2: rank {i}, raised to {s['bits']} bits, {chance.uniform(0, 9):.2f} ms of AIB left",
            }
            for i, s in enumerate(planned)
        ],
        "lanes": listed,
    }


def one_row(
    platform: str,
    label: str,
    latency: float,
    memory: Optional[int],
    seed: int,
    workload: Optional[str] = None,
    profiled: bool = True,
) -> dict[str, Any]:
    policy, _, knobs = label.partition("(")
    return {
        "platform": platform,
        "policy": policy,
        "label": label,
        "knobs": dict([knobs[:-1].split("=")]) if knobs else {},
        "model": "minilm6-sst2" if profiled else "bert-base",
        "workload": workload,
        "latency_ms": latency,
        "memory_bytes": memory,
        "preload_bytes": MIB,
        "seed": seed,
        "feasible": False,
        "error": None,
    }


def fill(row: dict[str, Any], made: dict[str, Any], budget: float, profiled: bool, chance: random.Random) -> None:
    skill = SKILL.get(row["label"], 0.5)
    best = 0.915 - 0.35 / (1 + 9 * budget)
    regret = (1 - skill) * (0.5 + 6 * max(0.0, 0.8 - budget)) + 0.05
    predicted = best - regret / 100
    measured = predicted + chance.gauss(0, 0.004)
    row.update(
        feasible=True,
        depth=made["depth"],
        width=made["width"],
        mean_bits=made["mean_bits"],
        predicted_latency_ms=row["latency_ms"] * (0.99 - 0.1 * (1 - skill)),
        latency_ms_achieved=row["latency_ms"] * (0.95 - 0.12 * (1 - skill)),
        peak_bytes=made["predicted"]["peak_bytes"],
        io_bytes=made["predicted"]["io_bytes"],
        plan_us=40 + 9000 * (row["label"] == "optimal"),
        loss_predicted=0.9 - predicted * 0.8,
        loss_bound=0.9 - best * 0.8,
        loss_gap=0.0004,
        loss_regret=regret * 0.008,
    )
    if profiled:
        row.update(
            accuracy_predicted=predicted,
            accuracy=measured,
            accuracy_low=measured - 0.019,
            accuracy_high=measured + 0.018,
            accuracy_examples=872,
            bound=best,
            gap=0.05,
            regret=regret,
        )
    if row["workload"]:
        p50 = row["latency_ms"] * chance.uniform(0.5, 0.8)
        row.update(
            requests=400,
            misses=int(400 * (1 - skill) * 0.06),
            latency_p50_ms=p50,
            latency_p95_ms=p50 * 1.3,
            latency_p99_ms=p50 * chance.uniform(1.4, 1.9),
            latency_ms_achieved=p50,
        )


def pairs_of(rows: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("accuracy") is not None:
            groups.setdefault(
                (row["platform"], row["workload"], row["latency_ms"], row["memory_bytes"], row["seed"]), []
            ).append(row)
    found = []
    for (platform, workload, latency, memory, _), members in groups.items():
        for i, a in enumerate(members):
            for b in members[i + 1 :]:
                shift = round(872 * (a["accuracy"] - b["accuracy"]))
                common = chance.randint(3, 20)
                difference = shift / 872
                found.append(
                    {
                        "platform": platform,
                        "workload": workload,
                        "latency_ms": latency,
                        "memory_bytes": memory,
                        "a": a["label"],
                        "b": b["label"],
                        "n": 872,
                        "only_a_right": common + max(0, shift),
                        "only_b_right": common + max(0, -shift),
                        "p_mcnemar": None,
                        "difference": difference,
                        "difference_low": difference - 0.011,
                        "difference_high": difference + 0.011,
                    }
                )
    return found


def write(directory: Path, document: dict[str, Any], plans: Optional[dict[str, Any]] = None) -> Path:
    (directory / "plans").mkdir(parents=True, exist_ok=True)
    for name, made in (plans or {}).items():
        (directory / "plans" / f"{name}.json").write_text(json.dumps(made), encoding="utf-8")
    (directory / "results.json").write_text(json.dumps(document), encoding="utf-8")
    return directory


def tournament(
    directory: Path,
    labels: tuple[str, ...] = CONTENDERS,
    platforms: tuple[str, ...] = ("sti-board", "raspberry-pi-5"),
    latencies: tuple[float, ...] = (100, 150, 200, 300, 400),
    memories: tuple[Optional[int], ...] = (8 * MIB, 16 * MIB),
    workloads: tuple[Optional[str], ...] = (None,),
    seeds: tuple[int, ...] = (1,),
    profiled: bool = True,
    size: tuple[int, int] = (6, 12),
) -> Path:
    chance = random.Random(7)
    rows, plans = [], {}
    for platform in platforms:
        for workload in workloads:
            for latency in latencies:
                for memory in memories:
                    for seed in seeds:
                        budget = min(1.0, latency / 400) * (0.8 if memory and memory < 10 * MIB else 1.0)
                        for label in labels:
                            row = one_row(platform, label, latency, memory, seed, workload, profiled)
                            rows.append(row)
                            if latency < 120 and label in ("load-exec", "std-pipeline"):
                                continue
                            if label == "random" and latency == 150:
                                row["error"] = "decide: no answer within 10 s; ended"
                                continue
                            made = plan(*size, budget, label, chance)
                            row["plan_hash"] = f"{len(plans):016x}"
                            plans[row["plan_hash"]] = made
                            fill(row, made, budget, profiled, chance)
    experiment = {
        "name": "sti_paper",
        "title": "STI and its challengers",
        "baseline": "sti",
        "reference": "optimal",
        "data": "../shared/data/glue/SST-2/dev.tsv",
    }
    return write(
        directory,
        {"tessera": "0.1.0", "experiment": experiment, "rows": rows, "summary": [], "pairs": pairs_of(rows, chance)},
        plans,
    )


if __name__ == "__main__":  # synthetic.py DIR: several of them, to look at
    root = Path(sys.argv[1])
    tournament(root / "usual")
    tournament(root / "shape", labels=CONTENDERS[:4], platforms=("zcu104",), profiled=False, size=(12, 12))
    tournament(root / "workloads", labels=CONTENDERS[:6], workloads=("typing", "voice-assistant"), seeds=(1, 2))
    tournament(root / "large", labels=CONTENDERS[:3], platforms=("wide",), size=(48, 64), latencies=(300, 400))
    tournament(root / "many", latencies=(60, 80, 100, 120, 150, 200, 250, 300, 400), memories=(4 * MIB, 8 * MIB, 16 * MIB))
