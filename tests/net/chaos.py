#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs that lose a rank while clients are served: what becomes of the clients, and of the job.

    tests/net/chaos.py [--runs 50] [--kinds kill,stop,cut] [--seed 0] [--model DIR]

Each run starts a server of four processes (pp2tp2), lets clients stream and wait for whole answers, and kills (SIGKILL)
or stops (SIGSTOP) a rank other than 0 at a random time, or cuts the network between the two namespaces that stand for
two hosts (tests/net/two_hosts.sh; needs root). It then expects of every client an answer, or an error that says to come
back; of /health 503 with the reason; of the job an exit code that is not 0; and that no process is left. Prints a row
for each run, and a summary; the exit code is 0 only if all was as expected.
"""

import argparse
import ctypes
import dataclasses
import http.client
import json
import os
import pathlib
import random
import signal
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from jobs import Job, all_gone, is_running  # noqa: E402

FLAGS = ("--max-model-len", 2048, "--max-num-batched-tokens", 256, "--num-gpu-blocks-override", 256)
MAX_TOKENS = 200
LIMIT_S = 10  # for what must come
KEEPALIVE = "--mca oob_tcp_keepalive_time 1 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 2".split()


def enter_network(namespace):
    """The calling thread's sockets are in the namespace from now on."""
    with open(f"/var/run/netns/{namespace}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


@dataclasses.dataclass
class Outcome:
    begun: float
    ended: float
    what: str  # "answer", "error", "gone" (nobody there), or what is wrong


class Clients:
    """Threads that ask without a pause until nobody is there any more."""

    def __init__(self, port, model, namespace=None, num_streams=3, num_whole=3):
        self.port, self.model, self.namespace = port, str(model), namespace
        self.outcomes, self.health = [], []  # health: (time, status, text)
        self.stop = threading.Event()
        work = [self.stream] * num_streams + [self.whole] * num_whole
        self.threads = [threading.Thread(target=self.ask, args=(i, what)) for i, what in enumerate(work)]
        self.threads.append(threading.Thread(target=self.watch_health))
        for thread in self.threads:
            thread.start()

    def join(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)

    def body(self, seed, stream):
        length = (7, 150, 700)[seed % 3]
        return json.dumps({"model": self.model, "prompt": [5 + (seed * 31 + i) % 400 for i in range(length)],
                           "max_tokens": MAX_TOKENS, "ignore_eos": True, "temperature": 0, "stream": stream})

    def ask(self, seed, what):
        if self.namespace:
            enter_network(self.namespace)
        while not self.stop.is_set():
            seed += 10
            begun = time.time()
            try:
                connection = self.connect()
                connection.connect()
            except OSError:
                self.outcomes.append(Outcome(begun, time.time(), "gone"))
                return
            try:
                said = what(connection, seed)
            except TimeoutError:
                said = f"hung for {LIMIT_S} s"
            except (OSError, http.client.HTTPException) as error:
                said = f"lost: {error!r}"
            self.outcomes.append(Outcome(begun, time.time(), said))
            connection.close()
            if said != "answer":
                time.sleep(0.02)

    def post(self, connection, seed, stream):
        connection.request("POST", "/v1/completions", self.body(seed, stream), {"Content-Type": "application/json"})
        return connection.getresponse()

    @staticmethod
    def refusal(response):
        text = response.read().decode()
        if response.status != 503:
            return f"status {response.status}: {text[:200]}"
        if not response.getheader("Retry-After") or not json.loads(text)["error"]["message"]:
            return f"503 without Retry-After or reason: {text[:200]}"
        return "error"

    def whole(self, connection, seed):
        response = self.post(connection, seed, False)
        if response.status != 200:
            return self.refusal(response)
        answer = json.loads(response.read())
        count = answer["usage"]["completion_tokens"]
        return "answer" if count == MAX_TOKENS else f"a whole answer of {count} tokens"

    def stream(self, connection, seed):
        response = self.post(connection, seed, True)
        if response.status != 200:
            return self.refusal(response)
        events = [line[6:] for line in response.read().decode().split("\n") if line.startswith("data: ")]
        is_done = bool(events) and events[-1] == "[DONE]"
        parsed = [json.loads(event) for event in events if event != "[DONE]"]
        if any("error" in event for event in parsed):
            finished = any(choice.get("finish_reason") for event in parsed for choice in event.get("choices", []))
            return "an error after what looks complete" if finished else "error"
        reasons = [choice["finish_reason"] for event in parsed for choice in event["choices"] if choice["finish_reason"]]
        return "answer" if is_done and reasons == ["length"] else f"half a stream: {events[-2:]}"

    def watch_health(self):
        if self.namespace:
            enter_network(self.namespace)
        while not self.stop.is_set():
            try:
                connection = self.connect()
                connection.request("GET", "/health")
                response = connection.getresponse()
                self.health.append((time.time(), response.status, response.read().decode()))
            except OSError:
                return
            finally:
                connection.close()
            time.sleep(0.02)


@dataclasses.dataclass
class Report:
    kind: str
    rank: int
    detected_s: float = float("nan")  # until /health says so
    last_answer_s: float = float("nan")  # of those who had asked before
    gone_s: float = float("nan")
    exit_code: int | None = None
    answers: int = 0
    errors: int = 0
    problems: list = dataclasses.field(default_factory=list)

    def row(self):
        return (f"{self.kind:5} {self.rank:4} {self.detected_s:9.2f} {self.last_answer_s:11.2f} {self.gone_s:8.2f} "
                f"{self.exit_code!s:>5} {self.answers:8} {self.errors:7}  {'; '.join(self.problems) or 'as expected'}")


def judge(report, clients, lost_at, leader_gone_at):
    """Fills the report from what the clients have seen."""
    for outcome in clients.outcomes:
        if outcome.what == "gone":
            continue
        report.answers += outcome.what == "answer"
        report.errors += outcome.what == "error"
        at_the_end = outcome.what.startswith("lost") and outcome.begun > leader_gone_at - 0.3
        if outcome.what not in ("answer", "error") and not at_the_end and report.rank != 0:
            report.problems.append(f"{outcome.what} (begun {outcome.begun - lost_at:+.2f} s)")
    before = [outcome.ended for outcome in clients.outcomes if outcome.begun <= lost_at]
    report.last_answer_s = max(before, default=lost_at) - lost_at
    if report.rank == 0:
        return
    bad = [(when, text) for when, status, text in clients.health if status == 503]
    if not bad:
        report.problems.append("/health never said 503")
        return
    report.detected_s = bad[0][0] - lost_at
    if "process" not in bad[0][1]:
        report.problems.append(f"/health does not say why: {bad[0][1][:100]}")
    if any(status == 200 for when, status, _ in clients.health if when > bad[0][0]):
        report.problems.append("/health was 200 again")
    if report.errors == 0:
        report.problems.append("no client was told")


def lose(kind, rank, after_s, model, flags=("-pp", 2, "-tp", 2), processes=4):
    """One run."""
    options = {}
    if kind == "cut":
        script = [str(ROOT / "tests/net/two_hosts.sh"), "--ranks", str(processes), "--cut-after", str(after_s + 4)]
        options["launcher"] = [*script, *KEEPALIVE, "--"]
    job = Job(processes, model, *FLAGS, *flags, network="pstk-a-{pid}" if kind == "cut" else None, **options)
    report = Report(kind, rank)
    try:
        clients = Clients(job.port, model, job.namespace)
        if kind == "cut":
            job.wait_for(lambda: "cut at " in job.log_text(), after_s + 10)
            lost_at = float(job.log_text().split("cut at ")[1].split()[0])
        else:
            time.sleep(after_s)
            lost_at = time.time()
            os.kill(job.pids[rank], signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        deadline = time.time() + 25
        leader_gone_at = None
        while job.process.poll() is None and time.time() < deadline:
            if leader_gone_at is None and not is_running(job.pids[0]):
                leader_gone_at = time.time()
            time.sleep(0.02)
        report.exit_code = job.process.poll()
        if report.exit_code in (0, None):
            report.problems.append("the job has not ended" if report.exit_code is None else "exit code 0")
        if not all_gone(job.pids.values(), 5):
            report.problems.append("processes are left")
        report.gone_s = time.time() - lost_at
        clients.join()
        judge(report, clients, lost_at, leader_gone_at or time.time())
    finally:
        job.kill_all()
    if report.problems:
        report.log = job.log_text()
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--kinds", default="kill,stop,cut")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=ROOT / "build/test_models/tiny-qwen3")
    parser.add_argument("--log", action="store_true", help="print the job's log where something was not as expected")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    kinds = args.kinds.split(",")
    print("kind  rank detected_s last_answer_s gone_s  exit  answers  errors")
    reports = []
    for i in range(args.runs):
        kind = kinds[i % len(kinds)]
        report = lose(kind, draw.randint(1, 3), draw.uniform(0.2, 2), args.model)
        print(report.row(), flush=True)
        if report.problems and args.log:
            print(report.log[-3000:])
        reports.append(report)
    for kind in kinds:
        some = [report for report in reports if report.kind == kind]
        print(f"{kind}: {len(some)} runs, {sum(not report.problems for report in some)} as expected; detected after "
              f"{statistics.median(report.detected_s for report in some):.2f} s (median), "
              f"{max(report.detected_s for report in some):.2f} s (most); last answer after at most "
              f"{max(report.last_answer_s for report in some):.2f} s; all gone after at most "
              f"{max(report.gone_s for report in some):.2f} s; exit codes {sorted({str(r.exit_code) for r in some})}")
    return int(any(report.problems for report in reports))


if __name__ == "__main__":
    sys.exit(main())
