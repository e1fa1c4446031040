"""Prefill of penstock and llama.cpp on the same random 0.6B-shaped Qwen3, in turn, on the same cores.

    python3 prefill_vs_llamacpp.py --llama-bench PATH [--lengths 512,2048] [--rounds 5] [--threads 2]

llama-bench comes from any native build of llama.cpp (its sources are in the PyPI package llama-cpp-python).
Prints one JSON line per length: medians of both in tokens/s, and the median of the ratios round by round.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(command, **kwargs):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **kwargs)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout


def penstock_rate(args, model, length):
    out = run([args.penstock, "bench", "latency", model, "--input-len", length, "--output-len", 1, "--batch-size", 1,
               "--num-iters", args.iterations, "--num-iters-warmup", 1, "--threads-per-rank", args.threads,
               "--max-model-len", length + 64, "--max-num-batched-tokens", min(length, 2048),
               "--no-enable-prefix-caching", "--json"])
    return length / statistics.median(json.loads(out)["latencies"])


def llama_rate(args, gguf, length):
    best = 0.0
    for flash in args.flash.split(","):
        out = run([args.llama_bench, "-m", gguf, "-p", length, "-n", 0, "-t", args.threads, "-fa", flash,
                   "-r", args.iterations, "-o", "json"])
        best = max(best, statistics.median(length * 1e9 / ns for ns in json.loads(out)[0]["samples_ns"]))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--penstock", default=ROOT / "build/penstock")
    parser.add_argument("--work-dir", type=pathlib.Path, default=ROOT / "build/bench")
    parser.add_argument("--lengths", default="512,2048")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash", default="0,1", help="llama.cpp's -fa values; the best is taken")
    args = parser.parse_args()

    model, gguf = args.work_dir / "qwen3-0.6b", args.work_dir / "qwen3-0.6b-bf16.gguf"
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if not (model / "config.json").exists():
        run([sys.executable, ROOT / "tools/make_checkpoint.py", "qwen3-0.6b", model])
    if not gguf.exists():
        run([sys.executable, pathlib.Path(__file__).with_name("hf_to_gguf.py"), model, gguf])
    commit = run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]).strip()
    for length in map(int, args.lengths.split(",")):
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(penstock_rate(args, model, length))
            theirs.append(llama_rate(args, gguf, length))
        print(json.dumps({
            "case": f"prefill {length}", "unit": "tokens/s", "threads": args.threads, "commit": commit,
            "penstock": round(statistics.median(ours), 1), "llama.cpp": round(statistics.median(theirs), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs)), 3),
            "cpu": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "?"),
            "cores": os.cpu_count(),
        }), flush=True)


if __name__ == "__main__":
    main()
