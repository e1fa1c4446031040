"""Runs one peer with one model in that peer's own Python, and times what it is told to; run_peers.py starts it.

    python worker.py BACKEND MODEL_DIR JSON_OPTIONS

First prints RESULT {"ready": true}; then reads one JSON line per task {"input_len", "output_len", "batch", "seed"} and
answers RESULT {"seconds": S}: from handing over the token ids (new random ones each time) to having all of the answer's.
SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import sys
import time


class OpenVino:
    """options["backend"]: "SDPA" (one request at a time) or "PA" (continuous batching over a paged cache)."""

    def __init__(self, model, options):
        import numpy
        import openvino
        import openvino_genai
        self.openvino, self.genai, self.numpy = openvino, openvino_genai, numpy
        properties = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": options["threads"],
                      "PERFORMANCE_HINT": "LATENCY"}
        if options["int8"]:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 128
        self.is_paged = options["backend"] == "PA"
        if self.is_paged:
            scheduler = openvino_genai.SchedulerConfig()
            scheduler.enable_prefix_caching, scheduler.cache_size = False, options["cache_gib"]
            scheduler.max_num_batched_tokens = 2048
            self.pipeline = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", properties)
        else:
            self.pipeline = openvino_genai.LLMPipeline(model, "CPU", ATTENTION_BACKEND="SDPA", **properties)

    def generate(self, prompts, output_len):
        config = self.genai.GenerationConfig()
        config.max_new_tokens, config.min_new_tokens, config.ignore_eos = output_len, output_len, True
        config.do_sample, config.apply_chat_template = False, False
        ids = self.numpy.array(prompts, dtype=self.numpy.int64)
        if self.is_paged:
            tensors = [self.openvino.Tensor(self.numpy.ascontiguousarray(row[None])) for row in ids]
            answers = self.pipeline.generate(tensors, [config] * len(tensors))
            return [len(answer.m_generation_ids[0]) for answer in answers]
        return [len(answer) for answer in self.pipeline.generate(self.openvino.Tensor(ids), config).tokens]


class Vllm:
    def __init__(self, model, options):
        import vllm
        self.vllm = vllm
        self.llm = vllm.LLM(model, dtype="bfloat16", enforce_eager=True, max_model_len=options["max_len"],
                            max_num_batched_tokens=2048, max_num_seqs=8, enable_prefix_caching=False)

    def generate(self, prompts, output_len):
        sampling = self.vllm.SamplingParams(temperature=0, max_tokens=output_len, ignore_eos=True, detokenize=False)
        answers = self.llm.generate([{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False)
        return [len(answer.outputs[0].token_ids) for answer in answers]


class Transformers:
    def __init__(self, model, options):
        import torch
        import transformers
        torch.set_num_threads(options["threads"])
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16,
                                                                       attn_implementation="sdpa").eval()

    def generate(self, prompts, output_len):
        ids = self.torch.tensor(prompts)
        with self.torch.inference_mode():
            out = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), do_sample=False,
                                      max_new_tokens=output_len, min_new_tokens=output_len)
        return [out.shape[1] - ids.shape[1]] * len(prompts)


BACKENDS = {"openvino": OpenVino, "vllm": Vllm, "transformers": Transformers}


def answer(value):
    print("RESULT " + json.dumps(value), flush=True)


def main():
    backend, model, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    engine = BACKENDS[backend](model, options)
    engine.generate([list(range(100, 228))], 2)  # pages, packed weights, and code that is made when first used
    answer({"ready": True})
    for line in sys.stdin:
        task = json.loads(line)
        numbers = random.Random(task["seed"])
        prompts = [[numbers.randrange(100, options["vocab_size"] - 100) for _ in range(task["input_len"])]
                   for _ in range(task["batch"])]
        begin = time.perf_counter()
        lengths = engine.generate(prompts, task["output_len"])
        seconds = time.perf_counter() - begin
        if lengths != [task["output_len"]] * task["batch"]:
            sys.exit(f"Error: answers of {lengths} tokens, expected {task['output_len']} each")
        answer({"seconds": seconds})


if __name__ == "__main__":
    main()
