#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a network between two stages costs: time to first token of a long prompt with two stages

    in-process    as threads of one process
    network       as two processes in two network namespaces (tests/net/two_hosts.sh), sends overlap the computation
    synchronous   the same, but a stage waits until its hidden states are sent (--synchronous-sends)

on the same two cores, in turn, in one run. Needs root, MPI, and penstock built with its tests (delay_link).

    bench/async_sends.py MODEL [--input-len 4096] [--chunk 256] [--rounds 5] [--iters 1] [--gbit 10] [--delay-us 1000]

Prints one JSON line. For each: time to first token (median, lowest, highest); its ratio to in-process, the median of
the rounds' own ratios; and what the hand-over itself costs, read from the timeline of the steps: the time to first
token, less the steps that nothing can shorten (all of stage 0, the last one of stage 1). On a shared machine, where
the same step takes 10 % longer at one time than at another, only the last says how well sends overlap.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PENSTOCK = ROOT / "build/penstock"


def bench(args, launcher, *flags):
    """(time to first token, what the hand-over costs of it, the steps on the critical path), all in seconds."""
    trace = pathlib.Path(tempfile.gettempdir()) / f"async-sends-{os.getpid()}.json"
    words = ["bench", "latency", args.model, "-pp", 2, "--input-len", args.input_len, "--output-len", 1, "--batch-size", 1,
             "--num-iters-warmup", 1, "--num-iters", args.iters, "--json", "--calibration", "off", "--chunk-policy",
             "static", "--max-num-batched-tokens", args.chunk, "--max-model-len", args.input_len + 64,
             "--max-num-seqs", 4, "--threads-per-rank", 1, "--trace-file", trace, *flags]
    result = subprocess.run([*launcher, *map(str, words)], capture_output=True, text=True, timeout=args.timeout,
                            cwd=ROOT)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return json.loads(result.stdout)["ttft"]["median"], *hand_over(trace, args)


def hand_over(path, args):
    """(seconds of the median iteration that are no step's on the critical path, those that are)."""
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("cat") == "step"]
    chunks = -(-args.input_len // args.chunk)
    first, last = ([event for event in events if event["tid"] == stage][-args.iters * chunks:] for stage in (0, 1))
    costs = []
    for i in range(0, args.iters * chunks, chunks):
        work = sum(event["dur"] for event in first[i:i + chunks]) + last[i + chunks - 1]["dur"]
        end = last[i + chunks - 1]["ts"] + last[i + chunks - 1]["dur"]
        costs.append(((end - first[i]["ts"] - work) / 1e6, work / 1e6))
    return sorted(costs)[len(costs) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--input-len", type=int, default=4096)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iters", type=int, default=1)
    parser.add_argument("--gbit", type=float, default=10)
    parser.add_argument("--delay-us", type=int, default=1000)
    parser.add_argument("--timeout", type=float, default=300)
    args = parser.parse_args()
    # Each process has the core that its stage has in one process.
    rank = ["sh", "-c", 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$@"', "sh", PENSTOCK]
    hosts = [ROOT / "tests/net/two_hosts.sh", "--gbit", str(args.gbit), "--delay-us", str(args.delay_us), "--", *rank]
    variants = {
        "in-process": lambda: bench(args, ["taskset", "-c", "0,1", PENSTOCK]),
        "network": lambda: bench(args, hosts),
        "synchronous": lambda: bench(args, hosts, "--synchronous-sends"),
    }
    seconds = {name: [] for name in variants}
    costs = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, run in variants.items():
            ttft, cost, work = run()
            seconds[name].append(ttft)
            costs[name].append((cost, cost / work))
            print(f"{name}: {ttft:.4f} s, {1000 * cost:.1f} ms for the hand-over", file=sys.stderr, flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    report = {"case": "async_sends", "commit": commit, "cores": os.cpu_count(), "model": os.path.basename(args.model),
              "input_len": args.input_len, "chunk": args.chunk, "gbit": args.gbit, "delay_us": args.delay_us}
    for name, times in seconds.items():
        ratios = [time / base for time, base in zip(times, seconds["in-process"])]
        report[name] = {"median_s": round(statistics.median(times), 4), "min_s": round(min(times), 4),
                        "max_s": round(max(times), 4), "ratio": round(statistics.median(ratios), 4),
                        "hand_over_ms": round(1000 * statistics.median(cost for cost, _ in costs[name]), 2),
                        "hand_over_share": round(statistics.median(share for _, share in costs[name]), 4)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
