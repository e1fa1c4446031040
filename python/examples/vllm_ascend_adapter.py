# SPDX-License-Identifier: Apache-2.0
"""penstock's planner in the place of vLLM-Ascend's ProfilingChunkManager.

vLLM-Ascend's scheduler asks its manager three things: how long the next chunk is to be, how long a chunk will take,
and to take note of how long a batch took. Both classes here answer with the same names and types, so that

    import vllm_ascend.core.scheduler_profiling_chunk as scheduler
    from vllm_ascend_adapter import PlannedChunkManager
    scheduler.ProfilingChunkManager = PlannedChunkManager

before the engine starts is all it takes.

    ProfilingChunkManager   vLLM-Ascend's own rule, in C++: the same chunks, to the token
    PlannedChunkManager     penstock's: chunks of the time that is best for this pipeline and this prompt, from a
                            model of cost that is fitted to every batch
"""

import penstock_plan as pp


class _Predictor:
    """What the scheduler and its patches touch of `manager.predictor`."""

    def __init__(self, model):
        self._model = model
        self.is_ready = False
        self._lens = None
        self._latencies = None

    def fit(self, seq_lens, latencies):
        """The start-up profile: lengths in tokens and milliseconds."""
        if not self._model.finish_profiling(list(seq_lens), list(latencies)):
            return False
        return True

    def set_target_latency(self, base_chunk_size, elapsed_time=0.0):
        del base_chunk_size  # the model knows it
        self._model.set_target(elapsed_time)

    @property
    def target_latency(self):
        return self._model.target_ms

    @property
    def with_history_ready(self):
        return self._model.history_ready

    @property
    def history_fitted(self):
        return self._model.history_fitted


class ProfilingChunkManager:
    """vLLM-Ascend's ProfilingChunkManager, the same chunks to the token."""

    def __init__(self, base_chunk_size, page_size, smooth_factor=0.8, min_chunk=4096, max_fit_chunk=30):
        self.base_chunk_size = base_chunk_size
        self.page_size = page_size
        self.chunked_fit_data = []
        self._model = pp.EqualLatencyModel(base_chunk_size, page_size, smooth_factor, min_chunk, max_fit_chunk)
        self.predictor = _Predictor(self._model)
        self._profiling_done = False
        self._set_time_count = 0
        self._set_time_done = False

    @property
    def is_ready(self) -> bool:
        return self._profiling_done and self.predictor.is_ready

    @property
    def history_ready(self) -> bool:
        return self.is_ready and self._model.history_ready

    def run_profiling(self, measure) -> bool:
        """The start-up profile as a whole. measure(num_tokens) -> milliseconds, or None where it failed."""
        lens, latencies = [], []
        for i, length in enumerate([self.base_chunk_size, *pp.EqualLatencyModel.profile_lengths(self.base_chunk_size)]):
            latency = measure(length)
            if i > 0 and latency is not None:  # the first one warms up
                lens.append(length)
                latencies.append(latency)
        if not self.predictor.fit(lens, latencies):
            return False
        self.predictor.set_target_latency(self.base_chunk_size)
        self.predictor.is_ready = self._profiling_done = True
        return True

    def predict_chunk_size(self, num_computed_tokens: int, target_time: float) -> int | None:
        """Tokens, a multiple of the page; None where no chunk takes `target_time` milliseconds."""
        if not self.is_ready:
            return None
        return self._model.predict_chunk_size(num_computed_tokens, target_time)

    def predict_time(self, num_new_tokens: int, num_computed_tokens: int) -> float:
        """Milliseconds."""
        if not self.is_ready:
            return 0.0
        return self._model.predict_time_ms(num_new_tokens, num_computed_tokens)

    def record_batch_execution_time(self, request_chunks: list, elapsed_time: float) -> bool:
        """request_chunks: (chunk, computed tokens) of each request; elapsed_time in seconds."""
        x1 = sum((chunk + history) * chunk for chunk, history in request_chunks)
        x2 = sum(chunk + history for chunk, history in request_chunks)
        self.chunked_fit_data.append([x1, x2, len(request_chunks), elapsed_time * 1000])
        return self._model.record_batch([(history, chunk) for chunk, history in request_chunks], elapsed_time * 1000)


class PlannedChunkManager(ProfilingChunkManager):
    """The same to its scheduler, but the chunks are penstock's.

    num_stages: of the pipeline. Of the stages only the last one is timed by vLLM-Ascend, so all are taken to be like
    it. max_len: of prompts; the plan is made for one of that length, since the scheduler does not say how long a
    prompt is.
    """

    _MOST_SAMPLES = 256

    def __init__(self, base_chunk_size, page_size, smooth_factor=1.0, min_chunk=1, max_fit_chunk=30, *, num_stages=2,
                 max_len=131072):
        super().__init__(base_chunk_size, page_size, smooth_factor, min_chunk, max_fit_chunk)
        self._num_stages = num_stages
        self._max_len = max_len
        self._min_chunk = min_chunk
        self._samples = []
        self._stage = None
        self._target_us = None
        self.predictor.fit = self._fit_profile

    def _fit_profile(self, seq_lens, latencies):
        self._samples = [([(0, length)], ms * 1000) for length, ms in zip(seq_lens, latencies)]
        return self._model.finish_profiling(list(seq_lens), list(latencies)) and self._refit()

    def _refit(self):
        fit = pp.fit_stage(self._samples, self._stage)
        if not fit.ok:
            return False
        self._stage = fit.cost
        self._cost = pp.CostModel([self._stage] * self._num_stages)
        align = max(self.page_size, 64)
        plan = pp.plan_prompt(self._cost, self._max_len, max(self.base_chunk_size, align), align=align,
                              min_chunk=min(self._min_chunk, self.base_chunk_size))
        self._target_us = plan.target_us
        return True

    def predict_chunk_size(self, num_computed_tokens: int, target_time: float) -> int | None:
        """As above; `target_time` is the budget that the step has left, and bounds the plan's."""
        if not self.is_ready or self._target_us is None:
            return None
        target_us = self._target_us
        if target_time > 0:
            target_us = min(target_us, target_time * 1000)
        remaining = max(self._max_len - num_computed_tokens, 1)
        align = max(self.page_size, 64)
        chunk = pp.next_equal_chunk(self._cost, remaining, target_us, max(self.base_chunk_size, align),
                                    pos=num_computed_tokens, align=align,
                                    min_chunk=min(self._min_chunk, self.base_chunk_size))
        return -(-chunk // align) * align

    def predict_time(self, num_new_tokens: int, num_computed_tokens: int) -> float:
        if not self.is_ready or self._target_us is None:
            return 0.0
        return self._cost.predict_us([(num_computed_tokens, num_new_tokens)])[-1] / 1000

    def record_batch_execution_time(self, request_chunks: list, elapsed_time: float) -> bool:
        chunks = [(history, chunk, chunk == 1) for chunk, history in request_chunks]
        self._samples = [*self._samples[-self._MOST_SAMPLES:], (chunks, elapsed_time * 1e6)]
        super().record_batch_execution_time(request_chunks, elapsed_time)
        return self._refit()
