"""Times ONNX Runtime on the embedded checkpoint, interleaved with bench_cpu_layer; checks its logits first.

onnxruntime_bert.py MODEL.onnx models/minilm6-sst2/golden.jsonl --bench build/bin/bench_cpu_layer --store STORE
                    [--tokens 16 32 64 128] [--threads 2] [--rounds 20] [--runs 10] [-- extra words for the bench]

Both sides see the same ids: the first golden sentence over and over, T of them, no padding. A round is `runs` runs of one
side, then of the other; the ratio is of medians over all rounds, and of minima. Needs onnxruntime and numpy.
"""
import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import onnxruntime

SETTLE = 0.03  # seconds between the sides: ONNX Runtime's threads spin on for a while after a run, on the cores both need


def open_session(path, threads, spinning):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check(session, lines):
    worst = 0.0
    for line in lines:
        got = session.run(None, {"input_ids": np.array([line["ids"]], np.int32)})[0][0]
        worst = max(worst, float(np.abs(got - np.array(line["logits"])).max()))
    assert worst < 2e-3, f"logits are off by {worst}"
    return worst


def time_session(session, ids, runs):
    feed = {"input_ids": ids}
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e6)
    return times


class Ours:
    def __init__(self, args, tokens, extra):
        words = [args.bench, "--store", args.store, "--golden", args.golden, "--tokens", str(tokens), "--threads",
                 str(args.threads), "--serve"]
        self.process = subprocess.Popen(words + extra, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def time(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(session, args, tokens, golden, extra):
    ids = np.resize(np.array(golden["ids"], np.int32), (1, tokens))
    ours = Ours(args, tokens, extra)
    peer_times, our_times = [], []
    for round_number in range(args.rounds + 1):
        peer = time_session(session, ids, args.runs)
        time.sleep(SETTLE)
        our = ours.time(args.runs)
        time.sleep(SETTLE)
        if round_number > 0:  # the first round warms both up
            peer_times += peer[1:]  # and each round's first run wakes its threads
            our_times += our[1:]
    ours.close()
    peer, our = statistics.median(peer_times), statistics.median(our_times)
    return {"tokens": tokens, "onnxruntime_us": {"median": round(peer, 1), "least": round(min(peer_times), 1)},
            "tessera_us": {"median": round(our, 1), "least": round(min(our_times), 1)},
            "ratio": {"median": round(our / peer, 3), "least": round(min(our_times) / min(peer_times), 3)}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("golden")
    parser.add_argument("--bench", required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--no-spinning", action="store_true", help="ONNX Runtime's threads sleep between operators")
    args, extra = parser.parse_known_args()
    lines = [json.loads(line) for line in open(args.golden)]
    session = open_session(args.model, args.threads, not args.no_spinning)
    print(json.dumps({"onnxruntime": onnxruntime.__version__, "logits_off": check(session, lines)}))
    for tokens in args.tokens:
        print(json.dumps(compare(session, args, tokens, lines[0], [w for w in extra if w != "--"])), flush=True)


if __name__ == "__main__":
    main()
