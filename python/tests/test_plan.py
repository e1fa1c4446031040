# SPDX-License-Identifier: Apache-2.0
"""The wheel itself: costs, fit, plans, policies, errors."""

import unittest

try:
    import penstock_plan as pp
except ImportError:
    pp = None


def deepseek(num_stages):
    return pp.CostModel.whole(num_stages, alpha=1.1268728934512e-4, beta=2.86578596357e-9, floor=0.16, d0=0.015)


def policy(name, **options):
    return pp.Policy(name, max_tokens=32768, block_size=128, max_model_len=1 << 20, **options)


@unittest.skipIf(pp is None, "the wheel is not built: python/build_and_test.sh")
class TestPlan(unittest.TestCase):
    def test_cost(self):
        cost = pp.CostModel([pp.StageCost(step_us=100, token_us=2), pp.StageCost(token_us=1, pair_us=1e-3)])
        self.assertEqual(cost.num_stages, 2)
        self.assertEqual(cost.stages[1].pair_us, 1e-3)
        self.assertEqual(cost.predict_us([(1000, 100)]), [300, 100 + 1e-3 * 100 * 1050])
        self.assertEqual(cost.predict_us([(0, 10), (5, 1, True)]), [100 + 22, 11 + 0.05])
        shared = pp.CostModel.whole(2, alpha=1e-4, shares=[1, 3])
        self.assertAlmostEqual(shared.stages[1].token_us, 75)

    def test_errors(self):
        for call, message in (
            (lambda: pp.CostModel([]), "num_stages is 0"),
            (lambda: pp.CostModel([pp.StageCost(token_us=-1)]), "stage 0: costs must be finite"),
            (lambda: pp.CostModel.whole(2, alpha=1, shares=[1]), "shares"),
            (lambda: pp.plan_prompt(deepseek(2), 0, 1024), "prompt of 0 tokens"),
            (lambda: pp.plan_prompt(deepseek(2), 1000, 0), "max_chunk is 0"),
            (lambda: policy("dynamic"), "expected one of static, equal-latency, sglang, optimal"),
            (lambda: policy("optimal", smooth_factor=0.0), "smooth_factor"),
            (lambda: policy("optimal", min_chunk=40000), "min_chunk is 40000"),
            (lambda: policy("static").next_chunk(1, pos=0, remaining=5, max_len=5), "next_chunk without begin_step"),
            (lambda: deepseek(2).predict_us([(0,)]), "a chunk is"),
            (lambda: pp.EqualLatencyModel(0, 128), "base_chunk is 0"),
        ):
            with self.assertRaises(ValueError) as caught:
                call()
            self.assertIn(message, str(caught.exception))

    def test_plan(self):
        cost = deepseek(2)
        plan = pp.plan_prompt(cost, 131072, 32768, align=128)
        self.assertEqual(sum(plan.chunks), 131072)
        self.assertAlmostEqual(plan.makespan_us, pp.makespan_us(cost, plan.chunks), delta=1)
        self.assertLess(plan.makespan_us, 20.95e6)
        self.assertLess(cost.ideal_us(131072), plan.makespan_us)
        first = pp.next_equal_chunk(cost, 131072, plan.target_us, 32768, align=128)
        self.assertAlmostEqual(first, plan.chunks[0], delta=0.1 * first)

    def test_fit(self):
        true = pp.StageCost(step_us=5000, token_us=50, pair_us=1.4e-3)
        cost = pp.CostModel([true])
        shapes = [(h, c) for h in (0, 8192, 32768) for c in (512, 2048, 8192, 16384)]
        fit = pp.fit_stage([([shape], cost.predict_us([shape])[0]) for shape in shapes])
        self.assertTrue(fit.ok)
        self.assertEqual(fit.num_samples, len(shapes))
        self.assertLess(fit.p90_error, 0.02)
        self.assertFalse(pp.fit_stage([]).ok)

    def test_replay(self):
        cost = deepseek(2)
        self.assertEqual(pp.replay(policy("static"), cost, 131072).chunks, [32768] * 4)
        self.assertAlmostEqual(pp.replay(policy("static"), cost, 131072).makespan_us / 1e6, 27.0, delta=0.01)
        self.assertAlmostEqual(pp.replay(policy("sglang"), cost, 131072).makespan_us / 1e6, 23.72, delta=0.2)
        seed = policy("equal-latency", smooth_factor=1.0, min_chunk=4096)
        for _ in range(6):
            plan = pp.replay(seed, cost, 131072)
        self.assertAlmostEqual(plan.makespan_us / 1e6, 22.51, delta=0.2)
        # What follows a prefix hit is cheaper.
        self.assertEqual(sum(pp.replay(policy("static"), cost, 1000, pos=131072 - 1000).chunks), 1000)
        self.assertEqual([policy(name).name for name in pp.POLICIES], list(pp.POLICIES))

    def test_step_by_step(self):
        quadratic = pp.CostModel([pp.StageCost(step_us=1000, token_us=10, pair_us=2e-3)] * 2)
        steps = pp.Policy("equal-latency", max_tokens=8192, block_size=128, max_model_len=131072, min_chunk=64)
        steps.begin_step([(1, 4096, 9000, True)])
        self.assertEqual(steps.next_chunk(1, pos=4096, remaining=9000, max_len=8192), 8192)
        steps.set_cost(quadratic)
        steps.begin_step([(1, 4096, 9000, True), (2, 0, 500, False)], steps_in_flight=1)
        self.assertEqual(steps.next_chunk(1, pos=4096, remaining=9000, max_len=8192), 6144)
        self.assertEqual(steps.next_chunk(2, pos=0, remaining=500, max_len=500, step_chunks=[(4096, 6144)]), 0)
        steps.on_step([(0, 8192)], [(0, 0, 5), (5, 10, 10 + 91292)])
        steps.begin_step([(1, 4096, 9000, True)])
        self.assertEqual(steps.next_chunk(1, pos=4096, remaining=9000, max_len=8192), 4096)


if __name__ == "__main__":
    unittest.main()
