#!/usr/bin/env python3
"""Measures accuracy and latency of every policy under real budgets: the table of benchmarks/README.md.

    benchmarks/budgets.py --data ../shared/data/glue/SST-2/dev.tsv [--latencies 5ms,7ms,...] [--memory 8MiB] [--limit N]

Runs `tessera eval --cold` once for each latency and configuration, one request after another. Accuracies are compared pairwise
over the same sentences (exact McNemar test). Needs Python 3 alone.
"""
import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGURATIONS = [
    ("load-exec", ["--policy", "load-exec"]),
    ("std-pipeline 2b", ["--policy", "std-pipeline", "--bits", "2"]),
    ("std-pipeline 6b", ["--policy", "std-pipeline", "--bits", "6"]),
    ("std-pipeline 32b", ["--policy", "std-pipeline", "--bits", "32"]),
    ("preload", ["--policy", "preload"]),
    ("sti", ["--policy", "sti"]),
]


def evaluate(arguments, name, flags, latency):
    """Returns the eval's JSON document and its lines, or None where every request was infeasible."""
    memory = arguments.preload_memory if name == "preload" else arguments.memory
    with tempfile.TemporaryDirectory() as folder:
        lines_path = os.path.join(folder, "lines.jsonl")
        command = [arguments.tessera, "eval", arguments.store, "--data", arguments.data, "--cold", "--format", "json",
                   "--latency", latency, "--memory", memory, "--predictions", lines_path, *flags, *arguments.extra]
        if name == "sti":
            command += ["--preload", arguments.preload]
        if arguments.limit:
            command += ["--limit", str(arguments.limit)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in (0, 3):
            sys.exit(f"{' '.join(command)}\nexited {done.returncode}: {done.stderr}")
        document = json.loads(done.stdout)
        with open(lines_path) as lines:
            return document, [json.loads(line) for line in lines]


def mcnemar(ours, theirs):
    """Sentences that only one of the two gets right, and the exact two-sided p-value."""
    by_index = {line["index"]: line for line in theirs}
    only_ours = only_theirs = 0
    for line in ours:
        other = by_index.get(line["index"])
        if other is None or line["predicted"] is None or other["predicted"] is None:
            continue
        mine, his = line["predicted"] == line["label"], other["predicted"] == line["label"]
        only_ours += mine and not his
        only_theirs += his and not mine
    n = only_ours + only_theirs
    tail = sum(math.comb(n, k) for k in range(min(only_ours, only_theirs) + 1)) / 2 ** n if n else 1.0
    return only_ours, only_theirs, min(1.0, 2 * tail)


def row(latency, name, document, lines):
    answered = [line for line in lines if line["predicted"] is not None]
    if not answered:
        nearest = document["nearest"]["both"]
        return (f"| {latency} | {name} | infeasible (nearest {nearest['latency_ms']:.2f} ms, "
                f"{nearest['memory_bytes'] / 2**20:.2f} MiB) | | | | | | | | |")
    times = document["latency_ms"]
    error = document["latency_prediction_error"]
    infeasible = document["infeasible"]
    depth, width = statistics.mode((line["depth"], line["width"]) for line in answered)
    bits = statistics.mean(line["mean_bits"] for line in answered)
    return (f"| {latency} | {name} | {100 * document['accuracy']:.2f} | {times['p50']:.2f} | {times['p90']:.2f} | "
            f"{times['p99']:.2f} | {document['deadline_missed']} | {infeasible} | {document['peak_bytes'] / 2**20:.2f} | "
            f"{100 * error['median']:.0f} % | {depth}x{width}, {bits:.1f} b |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tessera", default=os.path.join(ROOT, "build/release/bin/tessera"))
    parser.add_argument("--store", default=os.path.join(ROOT, "build/release/share/tessera/models/minilm6-sst2"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--latencies", default="4ms,6ms,8ms,12ms,20ms")
    parser.add_argument("--memory", default="8MiB")
    parser.add_argument("--preload-memory", default="64MiB", help="of policy preload, which holds the whole model")
    parser.add_argument("--preload", default="1MiB", help="preload buffer of sti")
    parser.add_argument("--limit", type=int)
    parser.add_argument("extra", nargs="*", help="further flags for tessera eval, after --")
    arguments = parser.parse_args()

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}; memory "
          f"{arguments.memory} (preload {arguments.preload_memory}), sti's preload buffer {arguments.preload}\n")
    print("| T | policy | accuracy % | p50 ms | p90 ms | p99 ms | late | infeasible | peak MiB | prediction off by, median | plan |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    pooled, sti_requests, sti_late, pairs = [], 0, 0, []
    for latency in arguments.latencies.split(","):
        lines_of = {}
        for name, flags in CONFIGURATIONS:
            document, lines = evaluate(arguments, name, flags, latency)
            lines_of[name] = lines
            print(row(latency, name, document, lines), flush=True)
            pooled += [abs(line["predicted_ms"] - line["latency_ms"]) / line["latency_ms"] for line in lines
                       if line["latency_ms"] is not None]
            if name == "sti":
                sti_requests += sum(line["predicted"] is not None for line in lines)
                sti_late += document["deadline_missed"]
        for name, lines in lines_of.items():
            if name.startswith("std-pipeline") and any(line["predicted"] is not None for line in lines):
                pairs.append((latency, name, *mcnemar(lines_of["sti"], lines)))
    print("\n| T | sti against | only sti right | only the other right | McNemar p |\n|---|---|---|---|---|")
    for latency, name, ours, theirs, p in pairs:
        print(f"| {latency} | {name} | {ours} | {theirs} | {p:.3f} |")
    pooled.sort()
    share = [pooled[min(len(pooled) - 1, int(q * len(pooled)))] for q in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)]
    print("\nLatency prediction, |predicted - measured| / measured over all requests of the table: "
          + ", ".join(f"p{q} {100 * v:.0f} %" for q, v in zip((10, 25, 50, 75, 90, 99), share)))
    if sti_requests:
        print(f"sti within its latency budget: {100 * (1 - sti_late / sti_requests):.2f} % of {sti_requests} requests")


if __name__ == "__main__":
    main()
