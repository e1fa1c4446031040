"""How each engine is started and timed. All get the same cores, the same weights and new random prompts each time.

An engine has variants (settings none of which is best everywhere); a run tries all of them in the first round of each
case and keeps the best. SPDX-License-Identifier: Apache-2.0
"""
import dataclasses
import json
import os
import pathlib
import re
import selectors
import signal
import statistics
import subprocess
import tempfile
import time

import install
import models

DECODE_PROMPT, DECODE_TOKENS = 128, 33
WARM_LENGTH = 2048  # prompts up to this are run once unmeasured: beyond, what is done once no longer counts


@dataclasses.dataclass(frozen=True)
class Engine:
    peer: str             # key of install.PACKAGES, or "penstock"
    form: str             # of the model: models.Models.form()
    dtype: str            # of the products: "bf16", "int8", "int8kv" (attention in 8 bits as well)
    variants: tuple = ("",)
    flags: tuple = ()


ENGINES = {
    "penstock-bf16": Engine("penstock", "bf16", "bf16"),
    "penstock-w8a8": Engine("penstock", "bf16", "int8", flags=("-q", "w8a8-dynamic")),
    "penstock-w8a8-int8kv": Engine("penstock", "bf16", "int8kv",
                                   flags=("-q", "w8a8-dynamic", "--kv-cache-dtype", "int8")),
    "openvino-bf16": Engine("openvino", "openvino-bf16", "bf16", ("SDPA", "PA")),
    "openvino-int8": Engine("openvino", "openvino-int8", "int8", ("SDPA", "PA")),
    "vllm-bf16": Engine("vllm", "bf16", "bf16"),
    "vllm-w8a8": Engine("vllm", "w8a8", "int8"),
    "llama.cpp-bf16": Engine("llama.cpp", "gguf-bf16", "bf16", ("0", "1")),
    "llama.cpp-q8_0": Engine("llama.cpp", "gguf-q8_0", "int8", ("0", "1")),
    "transformers-bf16": Engine("transformers", "bf16", "bf16"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One cell of the table: tokens/s of a prefill of `length`, or of decoding with `batch` sequences (length 0)."""
    model: str
    layers: int
    cores: int
    length: int
    batch: int = 1

    @property
    def name(self):
        return f"prefill {self.length}" if self.length else f"decode batch {self.batch}"

    @property
    def repeats(self):
        return 3 if self.length <= 1024 else 1

    @property
    def needs_warm_up(self):
        return self.length <= WARM_LENGTH


def environment(cores):
    """Thread settings that libraries read; nothing may look for models in a network."""
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def free_gib():
    """Memory that a new process can have without anything being written to disk."""
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"MemAvailable: +(\d+) kB", text)[1]) / 2**20


def pinned(core_ids, command):
    return ["taskset", "-c", ",".join(map(str, core_ids)), *map(str, command)]


def time_penstock(binary, engine, path, case, core_ids, limit_s):
    def seconds(input_len, output_len, batch, repeats, warm_ups):
        out = install.run(pinned(core_ids, [
            binary, "bench", "latency", path, *engine.flags, "--input-len", input_len, "--output-len", output_len,
            "--batch-size", batch, "--num-iters", repeats, "--num-iters-warmup", warm_ups, "--threads-per-rank",
            case.cores, "--max-model-len", input_len + output_len + 64, "--max-num-batched-tokens", 2048,
            "--kv-cache-memory-bytes", f"{models.cache_gib(models.config(path), batch * (input_len + output_len + 128))}G",
            "--no-enable-prefix-caching", "--calibration", "off", "--json"]), limit_s, environment(case.cores))
        return statistics.median(json.loads(out)["latencies"])

    if case.length:
        return case.length / seconds(case.length, 1, 1, case.repeats, int(case.needs_warm_up))
    first = seconds(DECODE_PROMPT, 1, case.batch, 3, 1)
    return case.batch * (DECODE_TOKENS - 1) / (seconds(DECODE_PROMPT, DECODE_TOKENS, case.batch, 3, 1) - first)


def time_llama(binary, variant, path, case, core_ids, limit_s):
    def run(command):
        return install.run(pinned(core_ids, command), limit_s, environment(case.cores))

    common = ["-m", path, "-t", case.cores, "-fa", variant]
    if case.batch > 1:
        batched = pathlib.Path(binary).with_name("llama-batched-bench")
        if not batched.exists():
            raise install.Refused("no llama-batched-bench beside llama-bench")
        out = run([batched, *common[:-1], "on" if variant == "1" else "off", "-c", 4096, "-npp", DECODE_PROMPT,
                   "-ntg", DECODE_TOKENS - 1, "-npl", case.batch, "--output-format", "jsonl"])
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")][-1]["speed_tg"]
    work = ["-p", case.length, "-n", 0] if case.length else ["-p", 0, "-n", DECODE_TOKENS - 1, "-d", DECODE_PROMPT]
    out = run([binary, *common, *work, "-r", case.repeats, "-o", "json",
               *([] if case.needs_warm_up else ["--no-warmup"])])
    tokens = case.length or DECODE_TOKENS - 1
    return statistics.median(tokens * 1e9 / ns for ns in json.loads(out)[0]["samples_ns"])


class Worker:
    """A peer in its own process (worker.py) that keeps its model; stopped by a signal while others are measured."""

    def __init__(self, python, engine, variant, path, case, max_len, core_ids, limit_s):
        keys = models.config(path)
        gib = models.cache_gib(keys, max_len + 8 * (DECODE_PROMPT + DECODE_TOKENS + 128))
        options = {"threads": case.cores, "int8": engine.dtype == "int8", "backend": variant, "cache_gib": gib,
                   "max_len": max_len, "vocab_size": keys["vocab_size"]}
        env = environment(case.cores)
        if engine.peer == "vllm":
            env |= {"VLLM_CPU_KVCACHE_SPACE": str(gib), "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                    "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, core_ids)), "VLLM_NO_USAGE_STATS": "1"}
            openmp = pathlib.Path(python).parents[1] / "lib/libiomp5.so"
            if openmp.exists():  # as its documentation advises
                env["LD_PRELOAD"] = str(openmp)
        self._errors = tempfile.TemporaryFile("w+")
        script = pathlib.Path(__file__).with_name("worker.py")
        self._process = subprocess.Popen(
            pinned(core_ids, [python, script, engine.peer, path, json.dumps(options)]), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._errors, env=env, start_new_session=True)
        self._buffer = b""
        self._warm = set()  # lengths
        try:
            self._wait(limit_s)
        except BaseException:  # an interrupt as well: nothing may be left running
            self.stop()
            raise
        self._signal(signal.SIGSTOP)

    def measure(self, case, seed, limit_s):
        self._signal(signal.SIGCONT)
        try:
            if case.length:
                if case.needs_warm_up and case.length not in self._warm:
                    self._warm.add(case.length)
                    self._task(case.length, 1, 1, seed + case.repeats, limit_s)
                times = [self._task(case.length, 1, 1, seed + i, limit_s) for i in range(case.repeats)]
                return case.length / statistics.median(times)
            first, all_of_it = ([self._task(DECODE_PROMPT, n, case.batch, seed + i, limit_s) for i in range(3)]
                                for n in (1, DECODE_TOKENS))
            return case.batch * (DECODE_TOKENS - 1) / (statistics.median(all_of_it) - statistics.median(first))
        finally:
            self._signal(signal.SIGSTOP)

    def stop(self):
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _signal(self, number):
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass

    def _task(self, input_len, output_len, batch, seed, limit_s):
        task = {"input_len": input_len, "output_len": output_len, "batch": batch, "seed": seed}
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: _wait() says why
        return self._wait(limit_s)["seconds"]

    def _wait(self, limit_s):
        end = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                line, separator, rest = self._buffer.partition(b"\n")
                if separator:
                    self._buffer = rest
                    if line.startswith(b"RESULT "):
                        return json.loads(line[7:])
                    continue
                if not selector.select(max(end - time.monotonic(), 0)):
                    raise install.Refused(f"over the limit of {limit_s:.0f} s")
                block = os.read(self._process.stdout.fileno(), 65536)
                if not block:
                    status = self._process.wait()
                    self._errors.seek(0)
                    raise install.Refused(install.reason(self._errors.read(), status))
                self._buffer += block
