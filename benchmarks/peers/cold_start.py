"""Times the start to the first answer with evicted model files: `tessera run` beside ONNX Runtime on the same weights.

cold_start.py MODEL.onnx models/minilm6-sst2/golden.jsonl --tessera build/release/bin/tessera --store STORE
              [--rounds 15] [--latency 50ms] [--memory 8MiB]

Each round runs every side once, in turn. Before each run its model files leave the page cache (posix_fadvise); programs and
libraries stay. Sides: Tessera under the given budgets; Tessera reading the whole model exactly, as ONNX Runtime must; ONNX
Runtime with all optimisations, and with none but a model optimised ahead of time. All answer the first golden sentence and
must give its label. "exec" counts from the start of the process, the interpreter included; "session" from where the model's
files are first opened. Medians. Needs onnxruntime and numpy.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# Runs in a process of its own: imports, opens a session, answers, and prints the moments.
PEER = r"""
import json, sys, time
began = time.clock_gettime(time.CLOCK_BOOTTIME)
import numpy as np
import onnxruntime
imported = time.clock_gettime(time.CLOCK_BOOTTIME)
path, level, threads, ids = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
options = onnxruntime.SessionOptions()
options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
opened = time.clock_gettime(time.CLOCK_BOOTTIME)
logits = session.run(None, {"input_ids": np.array([ids], np.int32)})[0][0]
done = time.clock_gettime(time.CLOCK_BOOTTIME)
print(json.dumps({"began": began, "imported": imported, "opened": opened, "done": done, "label": int(logits.argmax())}))
"""


def evict(paths):
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def files_under(folder):
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]


def run_ours(arguments, text, extra):
    evict(files_under(arguments.store))
    command = [arguments.tessera, "run", "--model", arguments.store, "--format", "json", "--threads", str(arguments.threads), text,
               *extra]
    document = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    process, plan = document["process"], document["plan"]
    if process["calibrate_ms"] > 0:
        return None  # it measured the machine first
    split = {"process start": process["process_start_ms"], "open": process["open_ms"], "plan": process["plan_ms"],
             "wait for loads": process["io_wait_ms"], "compute": process["compute_ms"], "other": process["other_ms"]}
    exec_ms = process["start_to_first_answer_ms"]
    return {"label": document["results"][0]["label"], "exec": exec_ms, "session": exec_ms - process["process_start_ms"],
            "split": split, "read_mib": document["results"][0]["io_bytes"] / 2**20, "rss_mib": process["peak_rss_bytes"] / 2**20,
            "plan": f"{plan['depth']}x{plan['width']}"}


def run_peer(path, level, arguments, ids, names):
    evict([path])
    start = time.clock_gettime(time.CLOCK_BOOTTIME)
    command = [sys.executable, "-c", PEER, path, level, str(arguments.threads), json.dumps(ids)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"ONNX Runtime's process ended with {status}")
    got = json.loads(output)
    split = {"interpreter": (got["began"] - start) * 1e3, "import": (got["imported"] - got["began"]) * 1e3,
             "open": (got["opened"] - got["imported"]) * 1e3, "first run": (got["done"] - got["opened"]) * 1e3}
    return {"label": names[got["label"]], "exec": (got["done"] - start) * 1e3, "session": (got["done"] - got["imported"]) * 1e3,
            "split": split, "read_mib": os.path.getsize(path) / 2**20, "rss_mib": usage.ru_maxrss / 1024, "plan": "whole model"}


def optimised_ahead(path, folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the result is for this machine, as meant
    options.optimized_model_filepath = os.path.join(folder, "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return options.optimized_model_filepath


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("golden")
    parser.add_argument("--tessera", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--latency", default="50ms")
    parser.add_argument("--memory", default="8MiB")
    arguments = parser.parse_args()
    with open(arguments.golden) as lines:
        golden = json.loads(lines.readline())
    config = os.path.join(os.path.dirname(arguments.golden), "config.json")
    with open(config) as file:
        names = {int(k): v for k, v in json.load(file)["id2label"].items()}
    budgets = ["--latency", arguments.latency, "--memory", arguments.memory]
    whole = ["--policy", "std-pipeline", "--bits", "32", "--latency", "10s", "--memory", "128MiB"]
    with tempfile.TemporaryDirectory() as folder:
        ahead = optimised_ahead(arguments.model, folder)
        sides = {
            f"tessera run, {arguments.latency}, {arguments.memory}": lambda: run_ours(arguments, golden["text"], budgets),
            "tessera run, whole model, exact": lambda: run_ours(arguments, golden["text"], whole),
            "ONNX Runtime": lambda: run_peer(arguments.model, "ORT_ENABLE_ALL", arguments, golden["ids"], names),
            "ONNX Runtime, optimised ahead": lambda: run_peer(ahead, "ORT_DISABLE_ALL", arguments, golden["ids"], names),
        }
        taken = {name: [] for name in sides}
        for _ in range(arguments.rounds + 1):
            for name, run in sides.items():
                one = run()
                if one is not None:
                    taken[name].append(one)
    report(taken, names[max(range(len(golden["logits"])), key=golden["logits"].__getitem__)])


def report(taken, label):
    print("| side | from exec, ms | from opening the model, ms | of which | read | peak RSS |\n|---|---|---|---|---|---|")
    for name, runs in taken.items():
        runs = runs[1:]  # the first round warms the libraries
        if any(run["label"] != label for run in runs):
            sys.exit(f"{name}: another label than the golden one, {label}")
        middle = {key: statistics.median(run[key] for run in runs) for key in ("exec", "session", "read_mib", "rss_mib")}
        split = ", ".join(f"{part} {statistics.median(run['split'][part] for run in runs):.1f}" for part in runs[0]["split"])
        print(f"| {name} | {middle['exec']:.1f} | {middle['session']:.1f} | {split} | {middle['read_mib']:.1f} MiB | "
              f"{middle['rss_mib']:.0f} MiB |")


if __name__ == "__main__":
    main()
