"""All chunk policies on a real pipeline of two stages, in turn in one run, against what was predicted.

    python3 bench/policies.py [--layers 4] [--input-len 14336] [--iterations 5] [--warm-ups 5]

The model is a Qwen3 of random weights, the prompt so long that attention is about 62 % of the work, as in the seed's
128k cell. Static and the heuristics get a quarter of the prompt as their chunk, as there; the heuristics may go down to
chunks of 64 tokens, which is better for them than the seed's floor of an eighth; optimal gets no setting at all but
that same cap. First the pipeline is calibrated (and checked on steps that were not fitted), as a new server does.

Prints a table, then JSON lines; the exit code says whether all goals hold. Use a quiet machine.
SPDX-License-Identifier: Apache-2.0
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


def run(command, env=None):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=env)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout


def ratio(row, other):
    """Round by round, because machines drift: the policies of a round ran one after the other."""
    return statistics.median(a / b for a, b in zip(row["ttfts_s"], other["ttfts_s"]))


def goals(rows, fit, attention_share):
    """(what, got, relation, goal): the figures that a quiet machine must reach."""
    optimal, static, equal = rows["optimal"], rows["static"], rows["equal-latency"]
    yield "attention's share of the work", attention_share, "~", 0.62
    yield "optimal: share of the time in which stages work", sum(optimal["stage_busy_share"]) / 2, ">=", 0.97
    yield "optimal: pure work / (stages x time)", optimal["efficiency"], ">=", 0.90
    yield "optimal / static", ratio(optimal, static), "<=", 0.78
    yield "optimal / equal-latency", ratio(optimal, equal), "<=", 0.93
    yield "hop between stages, ms per chunk", fit["hop_gap_us"] / 1000, "<=", 0.5
    yield "model on unseen steps: median error", fit["unseen"]["median_error"], "<=", 0.03
    yield "model on unseen steps: p90 error", fit["unseen"]["p90_error"], "<=", 0.08
    for name, row in rows.items():
        yield f"{name}: |predicted / measured - 1|", abs(row["predicted_ttft_s"] / row["ttft_s"] - 1), "<=", 0.03


def holds(got, relation, goal):
    return {"<=": got <= goal, ">=": got >= goal, "~": abs(got - goal) <= 0.06}[relation]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", default=ROOT / "build/penstock")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--input-len", type=int, default=14336)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--warm-ups", type=int, default=5, help="calibrates the policies that learn")
    args = parser.parse_args()

    model = ROOT / f"build/bench/qwen3-{args.layers}-layers"
    if not (model / "config.json").exists():
        run([sys.executable, ROOT / "tools/make_checkpoint.py", "qwen3-0.6b", model, "--layers", args.layers,
             "--max-positions", 65536])
    common = ["-pp", 2, "--max-num-batched-tokens", args.input_len // 4, "--max-model-len", args.input_len + 64,
              "--max-num-seqs", 4]
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "XDG_CACHE_HOME": cache}
        fit = json.loads(run([args.penstock, "calibrate", model, *common, "--json"], env))
        config = {"profiling_chunk_config": {"enabled": True, "min_chunk": 64}}
        results = json.loads(run([
            args.penstock, "bench", "latency", model, *common, "--input-len", args.input_len, "--chunk-policy", "all",
            "--num-iters", args.iterations, "--num-iters-warmup", args.warm_ups,
            "--additional-config", json.dumps(config), "--json"], env))
    rows = {row["policy"]: row for row in results}

    length = args.input_len
    token_us = sum(stage["token_us"] for stage in fit["stages"]) * length
    pair_us = sum(stage["pair_us"] for stage in fit["stages"]) * length * length / 2
    print(f"{'policy':<15}{'TTFT s':>8}{'predicted':>11}{'busy':>8}{'pure':>8}  chunks")
    for name, row in rows.items():
        busy = sum(row["stage_busy_share"]) / 2
        print(f"{name:<15}{row['ttft_s']:>8.3f}{row['predicted_ttft_s']:>11.3f}{busy:>8.1%}{row['efficiency']:>8.1%}"
              f"  {len(row['chunks'])}: {row['chunks'][0]} … {row['chunks'][-1]}")
    print()
    commit = run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]).strip()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "?")
    checks = list(goals(rows, fit, pair_us / (pair_us + token_us)))
    for what, got, relation, goal in checks:
        print(f"{'holds' if holds(got, relation, goal) else 'FAILS':<7}{got:>8.3f} {relation} {goal:<6} {what}")
    for name, row in rows.items():
        print(json.dumps({"case": f"{length} tokens, 2 stages: {name}", "unit": "s", "got": row["ttft_s"],
                          "predicted": round(row["predicted_ttft_s"], 3), "ideal": round(row["ideal_ttft_s"], 3),
                          "all": row["ttfts_s"], "commit": commit, "cpu": cpu}))
    sys.exit(0 if all(holds(got, relation, goal) for _, got, relation, goal in checks) else 1)


if __name__ == "__main__":
    main()
