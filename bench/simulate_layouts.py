"""Layouts of ranks, by simulation, against what the seed has published of them; docs/simulate.md has the assumptions.

    python3 bench/simulate_layouts.py [--penstock build/penstock] [--only table,prompt,clusters] [--sensitivity]

DeepSeek-V3.1 W8A8 on 16 devices: prompts of 4k to 64k of which 99 % are cached, 4 clients (input tokens per second and
device), and one prompt of 128k (TTFT). Prints tables, then one JSON line for each check; the exit status is 1 if one does
not hold. --sensitivity moves every number of the machine and of the clients by 25 % and prints what becomes of the ratios.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MACHINE = "a3-vllm-ascend"
LAYOUTS = ("pp2tp8", "tp16", "pcp2tp8", "dp2tp8")
PUBLISHED = dict(zip(LAYOUTS, (22424, 18875, 18197, 16150)))  # input tokens/s/card
MIXED = ["--prompt-len-mean", "32K", "--prompt-len-std", "32K", "--prompt-len-min", "4K", "--prompt-len-max", "64K",
         "--prefix-hit-share", 0.99, "--num-clients", 4, "--block-size", 16]
CLIENTS = {"client-ms": 10, "client-us-per-token": 1}


class Simulator:
    def __init__(self, penstock, num_requests, seeds):
        self.penstock, self.num_requests, self.seeds = penstock, num_requests, seeds

    def run(self, layouts, *flags):
        command = [self.penstock, "simulate", "--json", "--enable-expert-parallel", "--layouts", ",".join(layouts), *flags]
        command = [str(word) for word in command]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit status {result.returncode}\n{result.stderr[-2000:]}")
        return json.loads(result.stdout)

    def rates(self, *flags, policy="static", clients=None):
        """Tokens per second and device of each layout: the mean over the seeds."""
        sums = dict.fromkeys(LAYOUTS, 0.0)
        client_flags = [word for name, value in (clients or CLIENTS).items() for word in (f"--{name}", value)]
        for seed in range(self.seeds):
            reports = self.run(LAYOUTS, *MIXED, *client_flags, "--num-requests", self.num_requests, "--seed", seed,
                               "--chunk-policy", policy, *flags)
            for layout, report in zip(LAYOUTS, reports):
                sums[layout] += report["input_tokens_per_s_per_device"] / self.seeds
        return sums


class Checks:
    def __init__(self):
        self.results = []

    def near(self, case, got, target, tolerance):
        self.results.append({"case": case, "got": round(got, 3), "target": round(target, 3), "tolerance": tolerance,
                             "ok": abs(got - target) <= tolerance * target})

    def true(self, case, ok):
        self.results.append({"case": case, "got": int(ok), "target": 1, "ok": ok})


def ratios(rates):
    return [rates[LAYOUTS[0]] / rates[layout] for layout in LAYOUTS[1:]]


def table(simulator, checks):
    rates = simulator.rates("--cluster", MACHINE)
    print(f"{'layout':<10}{'published':>10}{'simulated':>11}{'':>7}{'pp2tp8 ÷ it':>20}")
    for layout in LAYOUTS:
        got, want = rates[layout], PUBLISHED[layout]
        ratio, wanted = rates["pp2tp8"] / got, PUBLISHED["pp2tp8"] / want
        print(f"{layout:<10}{want:>10}{got:>11.0f}{100 * (got / want - 1):>+6.1f}%{wanted:>12.3f}{ratio:>8.3f}")
        if layout != "pp2tp8":
            checks.near(f"pp2tp8 ÷ {layout}", ratio, wanted, 0.1)
        checks.near(f"{layout}, tokens/s/device", got, want, 0.1)
    order = sorted(LAYOUTS, key=lambda layout: -rates[layout])
    checks.true(f"order {' > '.join(LAYOUTS)}: got {' > '.join(order)}", order == list(LAYOUTS))


def prompt(simulator, checks):
    for policy, published in (("static", 27.0), ("equal-latency", 22.5)):
        got = simulator.run(["pp2tp8"], "--cluster", MACHINE, "--prompt-len", 131072, "--chunk-policy", policy)
        checks.near(f"pp2tp8, one prompt of 128k, {policy}: TTFT, s", got[0]["ttft_mean_s"], published, 0.05)


def clusters(simulator, _):
    """Not published by anybody: what the same devices would do with other engines and policies."""
    print(f"\n{'engine':<18}{'policy':<16}" + "".join(f"{layout:>10}" for layout in LAYOUTS))
    for machine in (MACHINE, "a3"):
        for policy in ("static", "equal-latency", "optimal"):
            rates = simulator.rates("--cluster", machine, policy=policy)
            print(f"{machine:<18}{policy:<16}" + "".join(f"{rates[layout]:>10.0f}" for layout in LAYOUTS))


def sensitivity(simulator):
    names = ("int8_flops bf16_flops matmul_efficiency attention_efficiency expand_efficiency half_rows memory_bytes_per_s "
             "intra_bytes_per_s intra_message_us collective_us layer_us launch_us launch_collective_us step_us agree_us "
             "expert_imbalance").split()
    defaults = {  # of a3-vllm-ascend
        "int8_flops": 752e12, "bf16_flops": 376e12, "matmul_efficiency": 0.135, "attention_efficiency": 0.65,
        "expand_efficiency": 0.85, "half_rows": 8, "memory_bytes_per_s": 1.6e12, "intra_bytes_per_s": 196e9,
        "intra_message_us": 1, "collective_us": 20, "layer_us": 100, "launch_us": 3200, "launch_collective_us": 50,
        "step_us": 8000, "agree_us": 30000, "expert_imbalance": 1.5}
    print("\npp2tp8 ÷ tp16, pcp2tp8, dp2tp8")

    def line(name, down, up):
        text = "".join(f"{'  '.join(f'{ratio:.3f}' for ratio in got):>26}" for got in (down, up))
        print(f"{name:<24}{text}")

    line("as it is", ratios(simulator.rates("--cluster", MACHINE)), [])
    print(f"{'':<24}{'−25 %':>26}{'+25 %':>26}")
    for name in names:
        line(name, *(ratios(simulator.rates("--cluster", MACHINE, "--cluster-set", f"{name}={factor * defaults[name]!r}"))
                     for factor in (0.75, 1.25)))
    for name in CLIENTS:
        line(name, *(ratios(simulator.rates("--cluster", MACHINE, clients={**CLIENTS, name: factor * CLIENTS[name]}))
                     for factor in (0.75, 1.25)))
    for switch in ("pcp_gathers_history=0", "expand_history=0", "sequence_parallel=0", "int8_gather=0", "lock_step=0",
                   "launch_us=300", "agree_us=0"):
        line(switch, ratios(simulator.rates("--cluster", MACHINE, "--cluster-set", switch)), [])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/penstock")
    parser.add_argument("--only", default="table,prompt,clusters")
    parser.add_argument("--num-requests", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sensitivity", action="store_true")
    args = parser.parse_args()
    simulator, checks = Simulator(args.penstock, args.num_requests, args.seeds), Checks()
    kinds = {"table": table, "prompt": prompt, "clusters": clusters}
    for kind in args.only.split(","):
        if kind not in kinds:
            sys.exit(f"--only: got {kind}, expected {', '.join(kinds)}")
        kinds[kind](simulator, checks)
    if args.sensitivity:
        sensitivity(simulator)

    print()
    for result in checks.results:
        print(f"{'holds' if result['ok'] else 'FAILS':<7}{result['got']:>11.3f} ~ {result['target']:<11g}{result['case']}")
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    for result in checks.results:
        print(json.dumps({**result, "commit": commit.strip()}, ensure_ascii=False))
    return 0 if all(result["ok"] for result in checks.results) else 1


if __name__ == "__main__":
    sys.exit(main())
