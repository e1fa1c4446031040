# SPDX-License-Identifier: Apache-2.0
"""Chunk planning for pipelined prefill: cost model, policies, replay.

Times are in microseconds and lengths in tokens, unless a name says otherwise.
"""

from ._core import (
    API_VERSION,
    CostModel,
    EqualLatencyModel,
    Plan,
    Policy,
    StageCost,
    StageFit,
    fit_stage,
    makespan_us,
    next_equal_chunk,
    plan_prompt,
    replay,
)

POLICIES = ("static", "equal-latency", "sglang", "optimal")

__all__ = [
    "API_VERSION",
    "POLICIES",
    "CostModel",
    "EqualLatencyModel",
    "Plan",
    "Policy",
    "StageCost",
    "StageFit",
    "fit_stage",
    "makespan_us",
    "next_equal_chunk",
    "plan_prompt",
    "replay",
]
