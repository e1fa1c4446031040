"""Penstock and its peers on the same random checkpoints, in turn, on the same cores: one table.

    python3 run_peers.py --work-dir DIR [--models qwen3,moe,deepseek] [--engines …] [--cores 1,2]
                         [--lengths 512,2048,8192,32768] [--rounds 3] [--layers N] [--long-layers N]

Installs the peers by package name into DIR (keep it out of the repository), makes the models and each peer's form of
them, and measures round by round. Up to --keep-length the peers that are libraries keep their models between rounds and
are stopped while others run; longer prompts get a new process each, so that caches need not fit side by side.
A peer that cannot be installed, refuses a model or takes longer than --limit is named with the reason and left out.
Writes DIR/peers.md and DIR/peers.json after every case. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import functools
import json
import os
import pathlib
import re
import signal
import sys
import time

import engines
import install
import models
import report
from engines import ENGINES, Case

sys.path.insert(0, str(models.ROOT / "bench/clients"))
from common import commit, cpu_name  # noqa: E402


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def words(known):
    def parse(text):
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(known)}")
        return names
    return parse


class Run:
    def __init__(self, args):
        self.args = args
        self.end = time.monotonic() + args.time_budget * 60
        self.pythons = {name: functools.cache(functools.partial(self._python, name))
                        for name in ("tools", "openvino", "vllm", "transformers")}
        self.models = models.Models(args.work_dir, self.pythons)
        self.llama = args.llama_bench
        self.refused = {}   # "engine, model …" -> reason
        self.stopped = set()  # (engine, model, cores, layers) that are measured no longer
        self.versions = {}
        self.results = []
        self.best = {}      # (engine, case) -> its best variant
        self.workers = {}   # (engine, variant) -> Worker that is kept; the one that rested longest comes first

    def say(self, text):
        print(f"[{time.strftime('%H:%M:%S')}, {max(self.end - time.monotonic(), 0) / 60:.0f} min left] {text}", flush=True)

    def left(self):
        return self.end - time.monotonic()

    def limit(self):
        return min(self.args.limit, self.left())

    def _python(self, name):
        return self.args.venv[name] / "bin/python" if name in self.args.venv else install.venv(self.args.work_dir, name)

    def install(self):
        """Every peer that is asked for; engines of those that cannot be had are dropped."""
        for peer in dict.fromkeys(ENGINES[name].peer for name in self.args.engines):
            try:
                self.say(f"{peer}: installing, if it is not there")
                if peer == "penstock":
                    self.versions[peer] = {"penstock": commit()}
                elif peer == "llama.cpp":
                    self.llama = self.llama or install.llama_bench(self.args.work_dir)
                    text = str(self.llama)
                    found = re.search(r"llama_cpp_python-([\d.]+\d)", text)
                    self.versions[peer] = {"llama-cpp-python": found[1] if found else "built elsewhere"}
                else:
                    self.versions[peer] = install.versions(peer, self.pythons[peer]())
            except (install.Refused, OSError) as error:
                self.refused[peer] = f"cannot be installed: {error}"
                self.say(f"{peer}: {self.refused[peer]}")
                self.args.engines = [name for name in self.args.engines if ENGINES[name].peer != peer]

    def peaks(self, cores):
        """GOP/s as penstock's own peak loops reach, on so many cores."""
        out = install.run(engines.pinned(self.args.core_ids[:cores], [
            self.args.penstock, "bench", "kernels", "--threads", cores, "--only", "nothing but the peaks"]), 120)
        found = dict(re.findall(r"(bf16|int8) (\d+) G", out))
        return {dtype: float(rate) * 1e9 for dtype, rate in found.items()}

    def cases(self):
        """Short ones of all models first: what a time budget cuts off is the longest."""
        args = self.args
        for is_long in (False, True):
            for model in args.models:
                for cores in args.cores:
                    if not is_long:
                        yield from (Case(model, args.layers, cores, 0, batch) for batch in args.decode)
                    layers = args.long_layers or args.layers if is_long else args.layers
                    yield from (Case(model, layers, cores, length) for length in sorted(args.lengths)
                                if (length > args.keep_length) == is_long)

    def measure(self, name, variant, case, seed):
        engine, cores = ENGINES[name], self.args.core_ids[:case.cores]
        path = self.models.form(case.model, case.layers, engine.form)
        for key in list(self.workers):
            if key != (name, variant) and engines.free_gib() < self.args.free_gib:
                self.drop(*key)
        if engine.peer == "penstock":
            return engines.time_penstock(self.args.penstock, engine, path, case, cores, self.limit())
        if engine.peer == "llama.cpp":
            return engines.time_llama(self.llama, variant, path, case, cores, self.limit())
        is_long = case.length > self.args.keep_length
        worker = self.workers.pop((name, variant), None)
        if worker is None:
            max_len = (case.length if is_long else min(max(self.args.lengths), self.args.keep_length)) + 512
            worker = engines.Worker(self.pythons[engine.peer](), engine, variant, path, case, max_len, cores, self.limit())
        self.workers[name, variant] = worker
        try:
            rate = worker.measure(case, seed, self.limit())
        except install.Refused:
            self.drop(name, variant)
            raise
        if is_long:
            self.drop(name, variant)
        return rate

    def drop(self, name, variant):
        self.workers.pop((name, variant)).stop()

    def round_of(self, name, case, seed):
        """The rate of an engine in one round, or None; tries all its variants where the best is not known yet."""
        key = (name, case.model, case.cores, case.layers)
        if key in self.stopped or self.left() < 1:
            return None
        known = self.best.get((name, case))
        rates, reasons = {}, []
        for variant in [known] if known is not None else ENGINES[name].variants:
            try:
                rates[variant] = self.measure(name, variant, case, seed)
            except (install.Refused, OSError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
                reasons.append(str(error) or type(error).__name__)
        reasons = list(dict.fromkeys(reasons))
        where = f"{name}, {case.model}, {case.cores} core{'s' if case.cores > 1 else ''}"
        if reasons:
            self.refused[f"{where}, {case.name}"] = "; ".join(reasons)
        if not rates:
            if case.length:  # a prompt too long for it: longer ones will be, too
                self.stopped.add(key)
            self.say(f"{where}, {case.name}: {'; '.join(reasons)}")
            return None
        best = max(rates, key=rates.get)
        self.best[name, case] = best
        self.say(f"{where}, {case.name}: {rates[best]:.1f} tokens/s{f' ({best})' if best else ''}")
        return rates[best]

    def run(self):
        self.install()
        peaks = {}
        group = None
        for case in self.cases():
            if self.left() < 1:
                self.refused[f"{case.model}, {case.cores} cores, {case.name}"] = "the time budget was spent"
                continue
            is_long = case.length > self.args.keep_length
            if group != (case.model, case.cores, case.layers, is_long):
                self.stop_workers()
                group = (case.model, case.cores, case.layers, is_long)
                peaks[case.cores] = self.peaks(case.cores)
            rounds = self.args.long_rounds if is_long else self.args.rounds
            cells = {name: [] for name in self.args.engines}
            for number in range(rounds):
                for name in self.args.engines:
                    cells[name].append(self.round_of(name, case, 1000 * number + 10))
            work = None
            if case.length:
                try:
                    work = models.flops(models.config(self.models.form(case.model, case.layers, "bf16")), case.length)
                except install.Refused:
                    pass
            self.results.append({"case": case.name, "model": case.model, "layers": case.layers, "cores": case.cores,
                                 "work": work, "peaks": peaks[case.cores], "cells": cells,
                                 "variants": {name: self.best.get((name, case)) or "" for name in cells}})
            self.write()
        self.stop_workers()
        self.write()

    def stop_workers(self):
        for key in list(self.workers):
            self.drop(*key)

    def write(self):
        dtypes = {name: engine.dtype for name, engine in ENGINES.items()}
        peers = {name: engine.peer for name, engine in ENGINES.items()}
        rows = list(report.rows(self.results, dtypes, peers))
        about = {"date": time.strftime("%Y-%m-%d %H:%M"), "commit": commit(), "cpu": cpu_name(), "cores": os.cpu_count(),
                 "versions": self.versions}
        peers_text = "; ".join(", ".join(f"{package} {version}" for package, version in found.items())
                               for found in self.versions.values())
        peaks = {result["cores"]: result["peaks"] for result in self.results}
        peak_text = ", ".join(f"{cores} core{'s' if cores > 1 else ''}: " + " and ".join(
            f"{dtype} {rate / 1e9:,.0f} GOP/s" for dtype, rate in peak.items()) for cores, peak in peaks.items())
        header = f"{about['date']}, commit {about['commit']}, {about['cpu']}, peaks {peak_text}; {peers_text}."
        text = report.markdown(rows, self.args.engines, self.refused, header)
        (self.args.work_dir / "peers.md").write_text(text)
        (self.args.work_dir / "peers.json").write_text(json.dumps(
            {**about, "rows": rows, "results": self.results, "refused": self.refused}, indent=1) + "\n")
        return text


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=pathlib.Path, required=True)
    parser.add_argument("--penstock", type=pathlib.Path, default=models.ROOT / "build/penstock")
    parser.add_argument("--models", type=words(models.MODELS), default=list(models.MODELS))
    parser.add_argument("--engines", type=words(ENGINES), default=list(ENGINES))
    parser.add_argument("--cores", type=numbers, default=[1, 2], help="numbers of cores: 1,2")
    parser.add_argument("--core-ids", type=numbers, default=sorted(os.sched_getaffinity(0)), help="which they are")
    parser.add_argument("--lengths", type=numbers, default=[512, 2048, 8192, 32768])
    parser.add_argument("--decode", type=numbers, default=[1, 8], help="batch sizes; empty: no decoding")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long-rounds", type=int, default=1, help="rounds of prompts above --keep-length")
    parser.add_argument("--keep-length", type=int, default=8192)
    parser.add_argument("--layers", type=int, default=0, help="shorten the models to so many layers")
    parser.add_argument("--long-layers", type=int, default=0, help="the same for prompts above --keep-length only")
    parser.add_argument("--free-gib", type=float, default=8, help="kept models make room until so much memory is free")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one measurement")
    parser.add_argument("--time-budget", type=float, default=600, help="minutes for everything")
    parser.add_argument("--llama-bench", type=pathlib.Path, help="one that is built already")
    parser.add_argument("--venv", action="append", default=[], metavar="PEER=DIR", help="an environment that has the peer")
    args = parser.parse_args()
    args.venv = {name: pathlib.Path(folder).absolute() for name, _, folder in (text.partition("=") for text in args.venv)}
    if max(args.cores) > len(args.core_ids):
        parser.error(f"--cores: got {max(args.cores)}, there are {len(args.core_ids)}")
    args.work_dir = args.work_dir.absolute()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    return args


def main():
    run = Run(parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers end with it
    try:
        run.run()
    finally:
        run.stop_workers()
    print(run.write())


if __name__ == "__main__":
    main()
