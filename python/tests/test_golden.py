# SPDX-License-Identifier: Apache-2.0
"""vLLM-Ascend's golden values, through the adapter that stands in for its ProfilingChunkManager.

The numbers come from vLLM-Ascend's own predictor, run on the data of its unit tests.
"""

import pathlib
import sys
import unittest

try:
    import penstock_plan as pp
except ImportError:
    pp = None
else:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "examples"))
    import vllm_ascend_adapter

HISTORIES = (0, 4096, 8192, 16384, 32768, 65536, 131072)
LENS = list(range(64, 8256, 128))
TIMES = [1e-6 * length * length + 0.01 * length + 1.0 for length in LENS]


def ready_manager(smooth_factor=0.8, min_chunk=4096, **options):
    """As vLLM-Ascend's own tests make one."""
    manager = vllm_ascend_adapter.ProfilingChunkManager(8192, 128, smooth_factor, min_chunk, **options)
    assert manager.predictor.fit(LENS, TIMES)
    manager.predictor.set_target_latency(8192)
    manager.predictor.is_ready = True
    manager._profiling_done = True
    return manager


def cut_prompt(base, smooth_factor, f, length=131072):
    """As its scheduler cuts a prompt that is alone, need_timing off."""
    manager = vllm_ascend_adapter.ProfilingChunkManager(base, 128, smooth_factor, 4096)
    assert manager.run_profiling(f)
    chunks, done = [], 0
    while done < length:
        chunk = manager.predict_chunk_size(done, manager.predictor.target_latency)
        chunks.append(min(base if chunk is None else chunk, base, length - done))
        done += chunks[-1]
    return chunks


@unittest.skipIf(pp is None, "the wheel is not built: python/build_and_test.sh")
class TestGolden(unittest.TestCase):
    def test_start_up_fit(self):
        manager = ready_manager()
        a, b, c = manager._model.basic
        self.assertAlmostEqual(a, 1e-6, delta=1e-14)
        self.assertAlmostEqual(b, 0.01, delta=1e-14)
        self.assertAlmostEqual(c, 1.0, delta=1e-11)
        self.assertAlmostEqual(manager.predictor.target_latency, 149.028864, delta=1e-11)

    def test_chunk_tables(self):
        for smooth_factor, min_chunk, expected in (
            (0.8, 4096, [8192, 6656, 5504, 4352, 4096, 4096, 4096]),
            (1.0, 4096, [8192, 6144, 4864, 4096, 4096, 4096, 4096]),
            (1.0, 64, [8192, 6144, 4864, 3328, 2048, 1152, 640]),
        ):
            manager = ready_manager(smooth_factor, min_chunk)
            self.assertEqual([manager.predict_chunk_size(history, 149.028864) for history in HISTORIES], expected)

    def test_not_ready(self):
        manager = vllm_ascend_adapter.ProfilingChunkManager(8192, 128)
        self.assertIs(manager.is_ready, False)
        self.assertIsNone(manager.predict_chunk_size(0, 1.0))
        self.assertEqual(manager.predict_time(8192, 0), 0.0)
        self.assertIs(manager.predictor.fit([64, 128, 256], [1.0, 2.0, 3.0]), False)
        self.assertIs(manager.is_ready, False)
        self.assertIs(manager.run_profiling(lambda num_tokens: None), False)
        self.assertIsNone(manager.predict_chunk_size(0, 1.0))

    def test_target_time_and_predicted_times(self):
        manager = ready_manager()
        self.assertIs(manager.is_ready, True)
        self.assertIs(manager.history_ready, False)
        self.assertEqual(manager.predict_chunk_size(0, 1.0), 4096)
        self.assertEqual(manager.predict_chunk_size(0, 149.028864), 8192)
        self.assertIsInstance(manager.predict_chunk_size(0, 1.0), int)
        self.assertAlmostEqual(manager.predict_time(4096, 4096), 91.291648, delta=1e-11)
        self.assertAlmostEqual(manager.predict_time(8192, 0), 149.028864, delta=1e-11)

    def test_records_refit(self):
        manager = ready_manager()
        refitted = [manager.record_batch_execution_time([(4096 - i * 100, i * 500)], 0.05 + i * 0.01) for i in range(10)]
        self.assertEqual(refitted, [False] * 4 + [True] * 6)
        self.assertEqual(len(manager.chunked_fit_data), 10)
        self.assertIs(manager.history_ready, True)
        a, b, c = manager._model.with_history
        self.assertEqual(a, 0)  # the source: 1e-20, of either sign
        self.assertAlmostEqual(b, 0.025, delta=1e-13)
        self.assertAlmostEqual(c, -52.4, delta=1e-9)
        chunks = [manager.predict_chunk_size(history, 149) for history in (0, 1000, 4096, 8192, 16384)]
        self.assertEqual(chunks, [8192, 7296, 4864, None, None])

    def test_refit_cap(self):
        manager = ready_manager()
        refitted = [manager.record_batch_execution_time([(1000 + 10 * i, 500 * i)], 0.005 + i / 1000) for i in range(1, 32)]
        self.assertEqual(refitted, [False] * 4 + [True] * 26 + [False])
        self.assertIs(manager.predictor.history_fitted, True)

    def test_constant_times(self):
        manager = vllm_ascend_adapter.ProfilingChunkManager(8192, 16, 0.8, 256)
        self.assertIs(manager.run_profiling(lambda num_tokens: 10.0), True)
        self.assertEqual(manager.predictor.target_latency, 1.0)
        self.assertIsNone(manager.predict_chunk_size(0, 1.0))

    def test_profile_lengths(self):
        seen = []

        def measure(num_tokens):
            seen.append(num_tokens)
            return num_tokens / 100

        vllm_ascend_adapter.ProfilingChunkManager(8192, 128).run_profiling(measure)
        self.assertEqual(seen[1:], list(range(8192, 0, -128)))

    def test_whole_prompts(self):
        def curve(a, b, c):
            return lambda length: a * length * length + b * length + c

        for f, smooth_factor, expected in (
            (curve(1e-6, 0.01, 1), 1.0,
             [32768, 15488, 11904, 10112, 8832, 8064, 7424, 6912, 6400, 6144, 5760, 5504, 5376, 384]),
            (curve(1e-6, 0.01, 1), 0.8, [32768, 18944, 15616, 13952, 12800, 12032, 11520, 11136, 2304]),
            (curve(2e-6, 0.05, 5), 1.0, [32768, 17536, 13696, 11520, 10240, 9216, 8576, 7936, 7424, 7040, 5120]),
            (curve(2e-6, 0.05, 5), 0.8, [32768, 20608, 17024, 15232, 13952, 13184, 12544, 5760]),
            (curve(1e-7, 0.02, 3), 1.0, [32768, 26240, 22528, 19968, 18176, 11392]),
        ):
            self.assertEqual(cut_prompt(32768, smooth_factor, f), expected)


@unittest.skipIf(pp is None, "the wheel is not built: python/build_and_test.sh")
class TestPlannedChunkManager(unittest.TestCase):
    """The other adapter: same answers in kind, a shorter time to the last chunk."""

    def test_stands_in(self):
        num_stages, length = 4, 131072
        whole = dict(alpha=1.127e-4, beta=2.866e-9, d0=0.015)
        cost = pp.CostModel.whole(num_stages, **whole)
        makespans = []
        for kind in (vllm_ascend_adapter.ProfilingChunkManager, vllm_ascend_adapter.PlannedChunkManager):
            options = {"num_stages": num_stages} if kind is vllm_ascend_adapter.PlannedChunkManager else {}
            manager = kind(32768, 128, 1.0, 1024, **options)
            self.assertIsNone(manager.predict_chunk_size(0, 1.0))
            self.assertIs(manager.run_profiling(lambda n: cost.predict_us([(0, n)])[-1] / 1000), True)
            for _ in range(2):  # the second prompt is planned with what the first one took
                chunks, done = [], 0
                while done < length:
                    chunk = manager.predict_chunk_size(done, 1e9)
                    self.assertIsInstance(chunk, int)
                    self.assertEqual(chunk % 128, 0)
                    chunk = min(chunk, 32768, length - done)
                    seconds = cost.predict_us([(done, chunk)])[-1] / 1e6
                    self.assertGreater(manager.predict_time(chunk, done), 0)
                    manager.record_batch_execution_time([(chunk, done)], seconds)
                    chunks.append(chunk)
                    done += chunk
            makespans.append(pp.makespan_us(cost, chunks))
        best = pp.plan_prompt(cost, length, 32768, align=128).makespan_us
        self.assertLess(makespans[1], 1.02 * best)
        self.assertLess(makespans[1], makespans[0])


if __name__ == "__main__":
    unittest.main()
