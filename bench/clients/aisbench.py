"""AISBench, the client of vLLM-Ascend's tutorial, against `penstock serve` on two stages.

    python3 bench/clients/aisbench.py [--model DIR] [--venv DIR] [--full]

1. The tutorial's calibration: 5 requests of full length, one output token, one at a time. Shows what the cost model that
   chunks are planned with said of these requests' steps before and after.
2. Its performance mode: requests of mixed lengths, two at a time.

Both are `ais_bench --models vllm_api_stream_chat --datasets synthetic_gen --mode perf --debug` after AISBench's own files
were edited as the tutorial edits them. Prints AISBench's tables, then one JSON line; the exit status is 1 if a request
failed or the model was not refined. Installs AISBench from PyPI at the first start (1.1 GB; aisbench_install.py).
Talks to 127.0.0.1 only. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import csv
import json
import pathlib
import re
import statistics
import subprocess
import sys

from aisbench_install import install, site_packages
from common import ROOT, Server, commit, cpu_name

ROOM = 64  # tokens of the chat template and of the answer: AISBench counts the words of the prompt


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/penstock")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/SmolLM2-135M-Instruct")
    parser.add_argument("--work-dir", type=pathlib.Path, default=ROOT / "build/aisbench", help="what AISBench writes")
    parser.add_argument("--venv", type=pathlib.Path, help="unset: in the work directory")
    parser.add_argument("--full", action="store_true", help="install everything that AISBench asks for (6.6 GB)")
    parser.add_argument("--full-length", type=int, default=4096, help="words of the calibration's prompts")
    parser.add_argument("--num-requests", type=int, default=8, help="of the performance mode")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each run of AISBench")
    return parser.parse_args()


def uniform(least, most):
    return {"Method": "uniform", "Params": {"MinValue": least, "MaxValue": most}}


class AisBench:
    def __init__(self, venv, work_dir, timeout):
        self.venv, self.work_dir, self.timeout = venv, work_dir, timeout
        self.packages = site_packages(venv) / "ais_bench"

    def configure(self, model, data):
        """Edits the two files; `model` by field, `data` is all of synthetic_config."""
        path = self.packages / "benchmark/configs/models/vllm_api/vllm_api_stream_chat.py"
        text = path.read_text()
        for field, value in model.items():
            text, count = re.subn(rf"^(\s*){field}=.*?,$", lambda m: f"{m[1]}{field}={value!r},", text, flags=re.M)
            if count != 1:
                sys.exit(f"{path}: {count} fields {field}, expected 1")
        path.write_text(text)
        (self.packages / "datasets/synthetic/synthetic_config.py").write_text(f"synthetic_config = {data!r}\n")

    def run(self, name):
        """One run in a directory of its own: the printed tables, and the results as a dict."""
        out = self.work_dir / name
        out.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(
            [self.venv / "bin/ais_bench", "--models", "vllm_api_stream_chat", "--datasets", "synthetic_gen", "--mode",
             "perf", "--debug", "--work-dir", out], cwd=out, capture_output=True, text=True, timeout=self.timeout)
        log = result.stdout + result.stderr
        (out / "ais_bench.log").write_text(log)
        found = sorted(out.glob("*/performances/*/synthetic.json"))
        if result.returncode != 0 or not found:
            sys.exit(f"ais_bench: exit status {result.returncode}\n{log[-3000:]}")
        common = {key: next(iter(value.values())) for key, value in json.loads(found[-1].read_text()).items()}
        with found[-1].with_suffix(".csv").open() as file:
            rows = {row["Performance Parameters"]: row for row in csv.DictReader(file)}
        tables = "\n".join(line for line in log.splitlines() if line.startswith(tuple("╒│╞├╘")))
        return tables, common, rows


def coefficients(server):
    """The cost model on /metrics: one dict of terms for each stage; none: nothing is known yet."""
    stages = {}
    pattern = r'^penstock:cost_coefficient_microseconds\{.*stage="(\d+)",term="(\w+)"\} (\S+)$'
    for stage, term, value in re.findall(pattern, server.request("GET", "/metrics")[2], re.M):
        stages.setdefault(int(stage), {})[term] = float(value)
    return [stages[stage] for stage in sorted(stages)]


def model_error(stages, trace):
    """Median of |predicted ÷ measured − 1| over the steps of one chunk, on every stage (src/plan/cost_model.h)."""
    errors = []
    for event in trace["traceEvents"]:
        if event.get("cat") != "step" or len(event["args"]["chunks_seq_pos_len"]) != 1 or not stages:
            continue
        c = stages[event["tid"]]
        _, pos, length = event["args"]["chunks_seq_pos_len"][0]
        predicted = (c["step"] + ((c["token"] * length) ** 3 + c["floor"] ** 3) ** (1 / 3) + c["history"] * pos
                     + c["pair"] * (pos * length + length * length / 2) + c["seq"])
        errors.append(abs(predicted / event["dur"] - 1))
    return round(100 * statistics.median(errors), 2) if errors else None


def summary(common, rows):
    number = lambda text: float(str(text).split()[0])  # noqa: E731
    result = {"requests": int(number(common["Total Requests"])), "failed": int(number(common["Failed Requests"])),
              "ttft_ms": number(rows["TTFT"]["Average"]), "e2el_ms": number(rows["E2EL"]["Average"]),
              "input_tokens": number(rows["InputTokens"]["Average"]),
              "input_tokens_per_s": number(common["Input Token Throughput"]),
              "output_tokens_per_s": number(common["Output Token Throughput"])}
    return result


def calibrate(bench, server, model, length):
    """The tutorial's recipe; what it changed in the cost model."""
    bench.configure({**model, "batch_size": 1, "max_out_len": 1}, {
        "Type": "string", "RequestCount": 5, "TrustRemoteCode": False,
        "StringConfig": {"Input": uniform(length, length), "Output": uniform(1, 1)}})
    before = coefficients(server)
    server.request("POST", "/start_profile")
    tables, common, rows = bench.run("calibration")
    trace = json.loads(server.request("POST", "/stop_profile")[2])
    after = coefficients(server)
    return tables, {**summary(common, rows), "refined": before != after,
                    "model_error_before_percent": model_error(before, trace),
                    "model_error_after_percent": model_error(after, trace),
                    "pair_us_before": [stage["pair"] for stage in before],
                    "pair_us_after": [stage["pair"] for stage in after]}


def performance(bench, model, num_requests, longest):
    bench.configure({**model, "batch_size": 2, "max_out_len": 32}, {
        "Type": "string", "RequestCount": num_requests, "TrustRemoteCode": False,
        "StringConfig": {"Input": uniform(longest // 4, longest), "Output": uniform(16, 32)}})
    tables, common, rows = bench.run("performance")
    return tables, summary(common, rows)


def main():
    args = arguments()
    if not (args.model / "tokenizer.json").exists():
        sys.exit(f"{args.model}: no model there; ./run fetches SmolLM2, or give --model")
    args.work_dir = args.work_dir.resolve()
    venv = (args.venv or args.work_dir / "venv").resolve()
    install(venv, args.full)
    bench = AisBench(venv, args.work_dir, args.timeout)
    flags = ["-pp", 2, "--served-model-name", "model", "--max-model-len", args.full_length + ROOM,
             "--max-num-batched-tokens", args.full_length // 4, "--no-enable-prefix-caching", "--additional-config",
             '{"profiling_chunk_config":{"enabled":true,"smooth_factor":1.0,"min_chunk":64}}']
    with Server(args.model, *flags, binary=args.penstock) as server:
        # The tokenizer is the model's; no model name in the first run: AISBench asks GET /v1/models for it.
        model = {"path": str(args.model.resolve()), "host_ip": "127.0.0.1", "host_port": server.port, "ignore_eos": True}
        tables, calibration = calibrate(bench, server, {**model, "model": ""}, args.full_length)
        print(f"Calibration: 5 requests of {args.full_length} words, output 1, one at a time\n{tables}\n")
        tables, perf = performance(bench, {**model, "model": "model"}, args.num_requests, args.full_length // 2)
        print(f"Performance: {args.num_requests} requests, two at a time\n{tables}")
        gone = server.log_text().count("499 Client Closed Request")
    print(json.dumps({"case": "AISBench 3.1.20260630", "model": args.model.name, "calibration": calibration,
                      "performance": perf, "closed_by_client": gone, "cpu": cpu_name(), "commit": commit()}))
    return 0 if calibration["failed"] == perf["failed"] == 0 and calibration["refined"] else 1


if __name__ == "__main__":
    sys.exit(main())
