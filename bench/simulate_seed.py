"""What the chunk policies gain, by simulation: the cases that others have measured, and those that follow from them.

    python3 bench/simulate_seed.py [--penstock build/penstock] [--only seed,stages,fixed,hits,loops] [--quick]

Everything runs in virtual time over the reference cost models of `penstock simulate`, so the numbers do not depend on the
machine. Prints a table, then one JSON line for each check; the exit status is 1 if one of them does not hold.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MIXED = ["--prompt-len-mean", "32K", "--prompt-len-std", "32K", "--prompt-len-min", "4K", "--prompt-len-max", "64K"]


class Checks:
    def __init__(self, penstock):
        self.penstock = penstock
        self.results = []

    def simulate(self, cost, stages, *flags):
        """Reports by policy."""
        command = [self.penstock, "simulate", "--json", "--cost", cost, "--pipeline-parallel-size", stages, *flags]
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stderr[-2000:]}")
        return {report["policy"]: report for report in json.loads(result.stdout)}

    def add(self, case, got, relation, target, unit, tolerance=0.0):
        if relation == "~":
            holds = abs(got - target) <= tolerance * target
        elif relation == "<=":
            holds = got <= target
        else:
            holds = got >= target
        self.results.append({"case": case, "got": round(got, 4), "relation": relation, "target": target, "unit": unit,
                             "ok": holds, **({"tolerance": tolerance} if tolerance else {})})


def seed(checks):
    """One prompt on two stages: the seed's two models."""
    for cost, length, static, dynamic, optimal in (("deepseek-v3.1", 131072, 27.0, 22.5, 20.95),
                                                   ("qwen3-235b", 262144, 61.4, 53.5, 52.8)):
        reports = checks.simulate(cost, 2, "--prompt-len", length, "--max-num-batched-tokens", 32768)
        name = f"{cost} {length // 1024}k, 2 stages: "
        checks.add(name + "static", reports["static"]["ttft_s"], "~", static, "s", 0.02)
        checks.add(name + "equal-latency", reports["equal-latency"]["ttft_s"], "~", dynamic, "s", 0.02)
        checks.add(name + "optimal", reports["optimal"]["ttft_s"], "<=", optimal, "s")


def stages(checks):
    """What optimal gains over equal-latency with more stages; percent, rounded."""
    for num_stages, percent in ((4, 19), (8, 33), (16, 46)):
        reports = checks.simulate("deepseek-v3.1", num_stages, "--prompt-len", 131072, "--chunk-policy",
                                  "equal-latency,optimal")
        gain = 100 * (1 - reports["optimal"]["ttft_s"] / reports["equal-latency"]["ttft_s"])
        checks.add(f"deepseek-v3.1 128k, {num_stages} stages: optimal under equal-latency", gain, ">=", percent - 0.5, "%")


def fixed(checks):
    """Five fixed chunk sizes on four stages, and none of them better than optimal by more than 1 %."""
    best = None
    for chunk, ttft in ((32768, 14.88), (16384, 11.53), (8192, 10.15), (4096, 10.38), (2048, 12.42)):
        got = checks.simulate("kimi-k2.5", 4, "--prompt-len", 131072, "--max-num-batched-tokens", chunk,
                              "--chunk-policy", "static")["static"]["ttft_s"]
        checks.add(f"kimi-k2.5 128k, 4 stages: static {chunk}", got, "~", ttft, "s", 0.02)
        best = min(best or got, got)
    got = checks.simulate("kimi-k2.5", 4, "--prompt-len", 131072, "--chunk-policy", "optimal")["optimal"]["ttft_s"]
    checks.add("kimi-k2.5 128k, 4 stages: optimal ÷ best static", got / best, "<=", 1.01, "×")


def hits(checks, num_requests):
    """99 % of each prompt cached: throughput against all that waits in one step."""
    for clients, ratio in ((4, 1.2), (16, 1.6)):
        reports = checks.simulate("deepseek-v3.1", 2, *MIXED, "--prefix-hit-share", 0.99, "--num-clients", clients,
                                  "--num-requests", num_requests, "--block-size", 16, "--chunk-policy", "static,optimal")
        rates = {policy: report["input_tokens_per_s"] for policy, report in reports.items()}
        checks.add(f"99 % hits, 4k to 64k, {clients} clients: optimal ÷ merge-all ({rates['static'] / 1000:.0f}k tokens/s)",
                   rates["optimal"] / rates["static"], ">=", ratio, "×")


def loops(checks, num_requests):
    """Closed loops without hits: against the best constant target time of a chunk that a sweep finds."""
    for cost, num_stages in (("deepseek-v3.1", 2), ("deepseek-v3.1", 4), ("deepseek-v3.1", 8),
                             ("deepseek-v3.1-lean", 8), ("kimi-k2.5", 4)):
        for clients in (1, 2, 4, 8, 16):
            flags = [*MIXED, "--num-clients", clients, "--num-requests", num_requests]
            got = checks.simulate(cost, num_stages, *flags, "--chunk-policy", "optimal")["optimal"]["requests_per_s"]
            best, best_ms = 0.0, 0
            for step in range(14):
                target_ms = round(10 * 1.6**step, 1)  # up to 4.5 s
                rate = checks.simulate(cost, num_stages, *flags, "--chunk-policy", "optimal", "--no-warm-up",
                                       "--fixed-target-ms", target_ms)["optimal"]["requests_per_s"]
                if rate > best:
                    best, best_ms = rate, target_ms
            checks.add(f"{cost}, {num_stages} stages, 4k to 64k, {clients} clients: optimal ÷ best constant ({best_ms} ms)",
                       got / best, ">=", 0.95, "×")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/penstock")
    parser.add_argument("--only", default="seed,stages,fixed,hits,loops")
    parser.add_argument("--quick", action="store_true", help="fewer requests: only to see that it works")
    args = parser.parse_args()
    checks = Checks(args.penstock)
    num_requests = 24 if args.quick else 120
    kinds = {"seed": seed, "stages": stages, "fixed": fixed, "hits": lambda c: hits(c, 2 * num_requests),
             "loops": lambda c: loops(c, num_requests)}
    for kind in args.only.split(","):
        if kind not in kinds:
            sys.exit(f"--only: got {kind}, expected {', '.join(kinds)}")
        kinds[kind](checks)

    for result in checks.results:
        print(f"{'holds' if result['ok'] else 'FAILS':<7}{result['got']:>9.3f} {result['relation']} "
              f"{result['target']:<7g}{result['unit']:<4}{result['case']}")
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    for result in checks.results:
        print(json.dumps({**result, "commit": commit.strip()}, ensure_ascii=False))
    return 0 if all(result["ok"] for result in checks.results) else 1


if __name__ == "__main__":
    sys.exit(main())
