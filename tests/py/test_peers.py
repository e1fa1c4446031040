#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of bench/peers: python3 tests/py/test_peers.py   (no peer, no network, seconds)."""

import json
import os
import sys
import tempfile
import time
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench", "peers"))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
import checkpoint_presets  # noqa: E402
import engines  # noqa: E402
import install  # noqa: E402
import models  # noqa: E402
import report  # noqa: E402
import run_peers  # noqa: E402

DTYPES = {name: engine.dtype for name, engine in engines.ENGINES.items()}
PEERS = {name: engine.peer for name, engine in engines.ENGINES.items()}


def result(cells, **changes):
    return {"case": "prefill 512", "model": "qwen3", "layers": 0, "cores": 1, "work": (8e8, 2e8),
            "peaks": {"bf16": 2e11, "int8": 4e11}, "cells": cells, **changes}


class Report(unittest.TestCase):
    def test_ratio_is_the_median_of_rounds_and_not_the_ratio_of_medians(self):
        self.assertEqual(report.ratio([10, 40, 30], [10, 20, 60]), 1.0)
        self.assertAlmostEqual(report.ratio([10, 20, 90], [10, 40, 30]), 1.0)

    def test_rounds_that_one_of_them_lacks_do_not_count(self):
        self.assertEqual(report.ratio([10, None, 30], [5, 1, 10]), 2.5)
        self.assertIsNone(report.ratio([10, None], [None, 5]))

    def test_roof_takes_each_part_at_its_own_peak(self):
        peaks = {"bf16": 2e11, "int8": 4e11}
        self.assertAlmostEqual(report.roof((8e8, 2e8), "bf16", peaks), 200)
        self.assertAlmostEqual(report.roof((8e8, 2e8), "int8", peaks), 1 / 0.003)
        self.assertAlmostEqual(report.roof((8e8, 2e8), "int8kv", peaks), 400)

    def test_ours_stands_beside_the_fastest_peer(self):
        cells = {"penstock-bf16": [150, 160], "penstock-w8a8": [300, 300], "vllm-bf16": [100, 80], "vllm-w8a8": [200, 240],
                 "llama.cpp-bf16": [50, 60], "openvino-bf16": [None, None], "penstock-w8a8-int8kv": [500, 500]}
        rows = {row["engine"]: row for row in report.rows([result(cells)], DTYPES, PEERS)}
        self.assertEqual(rows["penstock-bf16"]["beside"], "vllm-bf16")
        self.assertAlmostEqual(rows["penstock-bf16"]["ratio"], 1.75)
        self.assertEqual(rows["penstock-w8a8-int8kv"]["beside"], "vllm-w8a8")  # and not another engine of ours
        slow = result({"penstock-w8a8": [300], "llama.cpp-q8_0": [50], "vllm-bf16": [100]})
        self.assertEqual(list(report.rows([slow], DTYPES, PEERS))[0]["beside"], "vllm-bf16")
        self.assertIsNone(rows["vllm-bf16"]["ratio"])
        self.assertIsNone(rows["openvino-bf16"]["tokens_per_s"])
        self.assertAlmostEqual(rows["penstock-bf16"]["share"], 155 / 200)

    def test_table(self):
        results = [result({"penstock-bf16": [150], "vllm-bf16": [100], "openvino-bf16": [None]}),
                   result({"penstock-bf16": [50], "vllm-bf16": [None]}, case="prefill 32768", layers=4)]
        text = report.markdown(list(report.rows(results, DTYPES, PEERS)), list(engines.ENGINES),
                               {"openvino": "no such package", "vllm": "no such package"}, "Header.")
        self.assertIn("| engine | prefill 512 | prefill 32768, 4 layers |", text)
        self.assertIn("| penstock-bf16 | 150 (75%) | 50.0 (25%) |", text)
        self.assertIn("| vllm-bf16 | 100 (50%) | – |", text)
        self.assertIn("| **penstock-bf16 ÷ fastest peer** | 1.50 × vllm-bf16 | – |", text)
        self.assertIn("- openvino; vllm: no such package", text)
        self.assertNotIn("| openvino-bf16", text)


class Work(unittest.TestCase):
    def test_operations_per_token_of_the_three_shapes(self):
        linear, attention = models.flops(checkpoint_presets.resolve("qwen3-0.6b"), 2048)
        self.assertAlmostEqual(linear / 1e9, 0.881, places=3)
        self.assertAlmostEqual(attention / 1e9, 0.235, places=3)
        linear, attention = models.flops(checkpoint_presets.resolve("qwen3-moe-small"), 2048)
        self.assertEqual(linear, 8 * 2 * (1024 * 128 * (16 + 8 + 8 + 16) + 4 * 3 * 1024 * 512 + 1024 * 32))
        self.assertEqual(attention, 8 * 4 * 16 * 128 * 1024)
        linear, attention = models.flops(checkpoint_presets.resolve("deepseek-v3-small"), 2048)
        latent = 1024 * 384 + 384 * 16 * 192 + 1024 * 576 + 512 * 16 * 256 + 16 * 128 * 1024
        sparse = 5 * 3 * 1024 * 512 + 1024 * 32
        self.assertEqual(linear, 2 * (8 * latent + 3 * 1024 * 3072 + 7 * sparse))
        self.assertEqual(attention, 8 * 2 * 16 * (192 + 128) * 1024)


class Processes(unittest.TestCase):
    def test_an_error_becomes_one_line_that_names_the_program(self):
        with self.assertRaisesRegex(install.Refused, r"^python.*: ValueError: too small$"):
            install.run([sys.executable, "-c", "raise ValueError('too small')"], 120)

    def test_a_time_limit_ends_the_program(self):
        begin = time.monotonic()
        with self.assertRaisesRegex(install.Refused, "over the limit"):
            install.run(["sleep", "300"], 1)
        self.assertLess(time.monotonic() - begin, 200)

    def worker(self, source, limit_s=120):
        """A Worker whose Python runs `source` and not worker.py."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        python, config = (os.path.join(temporary.name, name) for name in ("python", "config.json"))
        with open(python, "w", encoding="utf-8") as file:
            file.write(f"#!{sys.executable}\n{source}")
        os.chmod(python, 0o755)
        with open(config, "w", encoding="utf-8") as file:
            json.dump(checkpoint_presets.resolve("tiny-qwen3"), file)
        case = engines.Case("qwen3", 0, 1, 4096)
        core = sorted(os.sched_getaffinity(0))[:1]
        worker = engines.Worker(python, engines.ENGINES["transformers-bf16"], "", temporary.name, case, 4096, core, limit_s)
        self.addCleanup(worker.stop)
        return worker, case

    def test_worker_answers_what_it_measured(self):
        worker, case = self.worker("print('noise'); print('RESULT {}', flush=True); input()\n"
                                   "print('RESULT {\"seconds\": 2}', flush=True); input()")
        self.assertEqual(worker.measure(case, 1, 120), 2048)

    def test_short_prompts_run_once_unmeasured(self):
        worker, _ = self.worker("import sys; print('RESULT {}', flush=True)\n"
                                "for i, _ in enumerate(sys.stdin): print(f'RESULT {{\"seconds\": {i}}}', flush=True)")
        case = engines.Case("qwen3", 0, 1, 512)
        self.assertEqual(worker.measure(case, 1, 120), 512 / 2)  # of 1, 2, 3; 0 was the warm-up
        self.assertEqual(worker.measure(case, 1, 120), 512 / 5)

    def test_worker_that_stops_says_why(self):
        with self.assertRaisesRegex(install.Refused, "KeyError: 'deepseek_v3'"):
            self.worker("raise KeyError('deepseek_v3')")

    def test_worker_that_is_too_slow_is_refused(self):
        worker, case = self.worker("import time; print('RESULT {}', flush=True); time.sleep(300)")
        with self.assertRaisesRegex(install.Refused, "over the limit"):
            worker.measure(case, 1, 0.2)


class Plan(unittest.TestCase):
    def run_with(self, *flags):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        with mock.patch("sys.argv", ["run_peers.py", "--work-dir", temporary.name, "--core-ids", "0,1", *flags]):
            return run_peers.Run(run_peers.parse_args())

    def test_long_prompts_come_last_and_may_have_fewer_layers(self):
        run = self.run_with("--models", "qwen3,moe", "--cores", "1", "--lengths", "32768,512", "--decode", "8",
                            "--long-layers", "4")
        self.assertEqual([(case.model, case.name, case.layers) for case in run.cases()], [
            ("qwen3", "decode batch 8", 0), ("qwen3", "prefill 512", 0), ("moe", "decode batch 8", 0),
            ("moe", "prefill 512", 0), ("qwen3", "prefill 32768", 4), ("moe", "prefill 32768", 4)])

    def test_all_variants_in_the_first_round_and_the_best_after_that(self):
        run = self.run_with()
        case = engines.Case("qwen3", 0, 1, 512)
        rates, asked = {"0": 50.0, "1": 80.0}, []
        with mock.patch.object(run, "measure", lambda name, variant, case, seed: asked.append(variant) or rates[variant]), \
                mock.patch.object(run, "say"):
            self.assertEqual([run.round_of("llama.cpp-bf16", case, seed) for seed in (0, 1)], [80.0, 80.0])
        self.assertEqual(asked, ["0", "1", "1"])

    def test_a_peer_that_refuses_is_named_and_asked_no_more(self):
        run = self.run_with()
        measure = mock.Mock(side_effect=install.Refused("no such model"))
        with mock.patch.object(run, "measure", measure), mock.patch.object(run, "say"):
            for length in (512, 2048):
                self.assertIsNone(run.round_of("vllm-w8a8", engines.Case("deepseek", 0, 1, length), 0))
        measure.assert_called_once()
        self.assertEqual(run.refused, {"vllm-w8a8, deepseek, 1 core, prefill 512": "no such model"})


if __name__ == "__main__":
    unittest.main()
