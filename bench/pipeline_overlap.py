"""Two pipeline stages beside one, with the same threads for each stage, in turn in one run.

    python3 bench/pipeline_overlap.py [--input-len 4096] [--chunks 8] [--rounds 5] [--model DIR]

Prints one JSON line: median seconds of each, and the median of the ratios round by round (ideal for n chunks and two
stages: (n + 1) / 2n). SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", default=ROOT / "build/penstock")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build/bench/qwen3-0.6b")
    parser.add_argument("--input-len", type=int, default=4096)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1)
    args = parser.parse_args()
    if not (args.model / "config.json").exists():
        run([sys.executable, ROOT / "tools/make_checkpoint.py", "qwen3-0.6b", args.model])

    def seconds(stages):
        out = json.loads(run([
            args.penstock, "bench", "latency", args.model, "-pp", stages, "--threads-per-rank", 1, "--json",
            "--input-len", args.input_len, "--output-len", 1, "--batch-size", 1, "--num-iters", args.iterations,
            "--num-iters-warmup", 1, "--max-num-batched-tokens", args.input_len // args.chunks,
            "--max-model-len", args.input_len + 64, "--no-enable-prefix-caching", "--chunk-policy", "static"]))
        return statistics.median(out["latencies"])

    one, two = [], []
    for _ in range(args.rounds):
        one.append(seconds(1))
        two.append(seconds(2))
    print(json.dumps({
        "case": f"overlap {args.input_len} in {args.chunks}", "unit": "s", "one_stage": round(statistics.median(one), 3),
        "two_stages": round(statistics.median(two), 3),
        "ratio": round(statistics.median(b / a for a, b in zip(one, two)), 3),
        "ideal": round((args.chunks + 1) / (2 * args.chunks), 3),
        "commit": run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]).strip()}))


if __name__ == "__main__":
    main()
