"""Short requests while a long prompt is computed: probes of one token at 2 per second beside one prompt, over HTTP.

    python3 bench/clients/probes.py [--model DIR] [--prompt-len 16384] [--policies srpt,fcfs]

Each scheduling policy gets a server of its own, two stages and chunk policy `optimal`; the first one measures the
pipeline, the others use what it has kept. Probes are sent on a fixed schedule, whether or not the last one was answered,
from the second second of the prompt until its answer; then no more. The step target is the median time that the prompt's
chunks took on their slowest stage, from the trace of /stop_profile.
Prints a table, then one JSON line: latencies of probes in seconds, and ÷ the step target. Talks to 127.0.0.1 only.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import math
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time

from common import ROOT, Server, commit, cpu_name


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/penstock")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build/bench/qwen3-8l",
                        help="made with tools/make_checkpoint.py where it is not there")
    parser.add_argument("--prompt-len", type=int, default=16384)
    parser.add_argument("--max-num-batched-tokens", type=int, default=2048)
    parser.add_argument("--policies", default="srpt,fcfs", help="--scheduling-policy of each server")
    parser.add_argument("--probe-len", type=int, default=8, help="tokens of a probe's prompt")
    parser.add_argument("--rate", type=float, default=2.0, help="probes per second")
    parser.add_argument("--max-seconds", type=float, default=240, help="give up on a prompt that takes longer")
    parser.add_argument("--trace-dir", type=pathlib.Path, help="keep the traces there")
    return parser.parse_args()


def percentile(values, share):
    """Nearest rank: with fewer than 100 values, p99 is the largest."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class Probes:
    """Sends probes on schedule, each from a thread of its own, and keeps how long each took."""

    def __init__(self, server, args, vocab_size):
        self.server, self.args, self.vocab_size = server, args, vocab_size
        self.latencies, self.failures, self.threads = [], [], []
        self.lock = threading.Lock()

    def one(self, due, prompt):
        try:
            self.server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0,
                                                 "ignore_eos": True})
            with self.lock:
                self.latencies.append(time.monotonic() - due)
        except Exception as error:  # whatever it was, it is a failed probe
            with self.lock:
                self.failures.append(f"{type(error).__name__}: {error}")

    def run_until(self, over):
        draw = random.Random(1)
        due = time.monotonic() + 1
        last = due + self.args.max_seconds
        while not over.wait(max(0.0, due - time.monotonic())) and due < last:
            prompt = [draw.randrange(self.vocab_size // 2) for _ in range(self.args.probe_len)]
            self.threads.append(threading.Thread(target=self.one, args=(due, prompt)))
            self.threads[-1].start()
            due += 1 / self.args.rate
        for thread in self.threads:
            thread.join(60)


def chunk_seconds(trace, prompt_len):
    """Of each of the long prompt's chunks: the time of its step on the slowest stage. And the chunks' lengths."""
    steps, lengths, seqs = {}, {}, {}
    slices = [event for event in trace["traceEvents"] if event.get("cat") == "step"]
    for event in slices:
        for seq, pos, length in event["args"]["chunks_seq_pos_len"]:
            seqs[seq] = max(seqs.get(seq, 0), pos + length)
    longest = max(seqs, key=seqs.get)
    for event in slices:
        for seq, pos, length in event["args"]["chunks_seq_pos_len"]:
            if seq == longest and pos < prompt_len:
                step = event["args"]["step"]
                steps[step] = max(steps.get(step, 0.0), event["dur"] / 1e6)
                lengths[step] = length
    return list(steps.values()), list(lengths.values())


def measure(args, policy, vocab_size):
    draw = random.Random(2)
    prompt = [draw.randrange(vocab_size // 2) for _ in range(args.prompt_len)]
    flags = ["-pp", 2, "--scheduling-policy", policy, "--chunk-policy", "optimal", "--no-enable-prefix-caching",
             "--max-model-len", args.prompt_len + 64, "--max-num-batched-tokens", args.max_num_batched_tokens]
    with Server(args.model, *flags, binary=args.penstock) as server:
        if "too far off to plan with" in server.log_text():
            print("warning: the calibration was disturbed; chunks are static. Run it on a quiet machine.", file=sys.stderr)
        probes = Probes(server, args, vocab_size)
        server.post("/v1/completions", {"prompt": prompt[:64], "max_tokens": 1})  # the first request warms up
        server.request("POST", "/start_profile")
        over = threading.Event()
        sender = threading.Thread(target=probes.run_until, args=(over,))
        begin = time.monotonic()
        sender.start()
        try:
            server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0, "ignore_eos": True})
            prompt_s = time.monotonic() - begin
        finally:
            over.set()
            sender.join()
        trace = server.request("POST", "/stop_profile")[2]
    if args.trace_dir:
        (args.trace_dir / f"probes-{policy}.json").write_text(trace)
    chunks_s, chunks = chunk_seconds(json.loads(trace), args.prompt_len)
    if probes.failures or not probes.latencies:
        sys.exit(f"{policy}: {len(probes.failures)} probes failed, {len(probes.latencies)} did not: {probes.failures[:3]}")
    target_s = statistics.median(chunks_s)
    p50, p99 = percentile(probes.latencies, 0.5), percentile(probes.latencies, 0.99)
    return {"probes": len(probes.latencies), "p50_s": round(p50, 3), "p99_s": round(p99, 3),
            "step_target_s": round(target_s, 3), "longest_step_s": round(max(chunks_s), 3),
            "p50_steps": round(p50 / target_s, 2), "p99_steps": round(p99 / target_s, 2),
            "prompt_s": round(prompt_s, 2), "chunks": chunks}


def main():
    args = arguments()
    if not (args.model / "config.json").exists():
        subprocess.run([sys.executable, ROOT / "tools/make_checkpoint.py", "qwen3-0.6b", "--layers", "8", args.model],
                       check=True)
    vocab_size = json.loads((args.model / "config.json").read_text())["vocab_size"]
    results = {policy: measure(args, policy, vocab_size) for policy in args.policies.split(",")}
    for policy, result in results.items():
        print(f"{policy:<9}{result['probes']} probes beside a prompt of {args.prompt_len} tokens ({result['prompt_s']} s): "
              f"p50 {result['p50_s']} s, p99 {result['p99_s']} s = {result['p50_steps']} and {result['p99_steps']} steps "
              f"of {result['step_target_s']} s")
    print(json.dumps({"case": f"probes beside {args.prompt_len}", "unit": "s", "model": args.model.name, **results,
                      "cpu": cpu_name(), "commit": commit()}))


if __name__ == "__main__":
    main()
