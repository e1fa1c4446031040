"""Writes a Qwen3, Qwen3-MoE or DeepSeek-V3 checkpoint (bf16 safetensors) as a GGUF file, for llama.cpp.

    python3 hf_to_gguf.py MODEL_DIR OUT.gguf [bf16|q8_0]     (needs the PyPI packages numpy and gguf)

bf16 keeps the numbers; q8_0 rounds every matrix but the routers, as llama.cpp's own tool does. The file has no
vocabulary ("no_vocab"): benchmarks feed token ids. SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import re
import sys

import gguf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import safetensors_io  # noqa: E402

ARCHITECTURES = {"Qwen3ForCausalLM": "qwen3", "Qwen3MoeForCausalLM": "qwen3moe", "DeepseekV3ForCausalLM": "deepseek2"}
LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.q_a_proj.weight": "attn_q_a.weight",
    "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight",
    "self_attn.q_b_proj.weight": "attn_q_b.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
    "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight",
    "mlp.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
    "mlp.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
}
TOP_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
EXPERT = re.compile(r"model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj\.weight")


def source_tensors(model_dir):
    """name -> (info, stored numbers) of the whole checkpoint."""
    found = {}
    for path in sorted(model_dir.glob("*.safetensors")):
        found.update(safetensors_io.read_file(str(path)))
    for name, (info, _) in found.items():
        if info.dtype not in ("BF16", "F32"):
            sys.exit(f"{name}: {info.dtype}, expected BF16 or F32")
    return found


def gguf_tensors(found, config):
    """(GGUF name, info of the source, numbers as stored): experts stacked, kv_b cut into its two halves."""
    experts = {}
    for name, (info, values) in found.items():
        if name in TOP_NAMES:
            yield TOP_NAMES[name], info, values
        elif match := EXPERT.fullmatch(name):
            experts.setdefault((match[1], match[3]), {})[int(match[2])] = (info, values)
        else:
            layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name).groups()
            if rest == "self_attn.kv_b_proj.weight":  # llama.cpp always runs the absorbed form
                heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
                both = values.reshape(heads, nope + config["v_head_dim"], config["kv_lora_rank"])
                yield f"blk.{layer}.attn_k_b.weight", info, both[:, :nope].transpose(0, 2, 1)
                yield f"blk.{layer}.attn_v_b.weight", info, both[:, nope:]
            else:
                yield f"blk.{layer}.{LAYER_NAMES[rest]}", info, values
    for (layer, part), by_index in experts.items():
        yield (f"blk.{layer}.ffn_{part}_exps.weight", by_index[0][0],
               np.stack([by_index[i][1] for i in range(len(by_index))]))


def add_attention(writer, config, arch):
    heads = config["num_attention_heads"]
    writer.add_head_count(heads)
    if arch == "deepseek2":
        rope, rank = config["qk_rope_head_dim"], config["kv_lora_rank"]
        writer.add_head_count_kv(1)  # absorbed: every head reads the same latent
        writer.add_key_length(rank + rope)
        writer.add_value_length(rank)
        writer.add_key_length_mla(config["qk_nope_head_dim"] + rope)
        writer.add_value_length_mla(config["v_head_dim"])
        writer.add_q_lora_rank(config["q_lora_rank"])
        writer.add_kv_lora_rank(rank)
        writer.add_rope_dimension_count(rope)
        yarn = config["rope_scaling"]
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(yarn["factor"])
        writer.add_rope_scaling_orig_ctx_len(yarn["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * yarn["mscale_all_dim"])
    else:
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_rope_freq_base(float(config.get("rope_theta", 10000.0)))


def add_experts(writer, config, arch):
    if arch == "qwen3":
        return
    writer.add_expert_count(config["n_routed_experts" if arch == "deepseek2" else "num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if arch == "deepseek2":
        writer.add_leading_dense_block_count(config["first_k_dense_replace"])
        writer.add_expert_shared_count(config["n_shared_experts"])
        writer.add_expert_weights_scale(config["routed_scaling_factor"])
        writer.add_expert_weights_norm(config["norm_topk_prob"])
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])


def add_tensor(writer, name, info, values, kind):
    """Norms, routers and biases stay in fp32: llama.cpp wants them so."""
    if values.ndim == 1 or "ffn_gate_inp" in name:
        writer.add_tensor(name, safetensors_io.to_float32(info, values))
    elif kind == "q8_0":
        q8 = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(safetensors_io.to_float32(info, values), q8), raw_dtype=q8)
    else:
        bits = values if info.dtype == "BF16" else safetensors_io.to_bf16(values)
        writer.add_tensor(name, np.ascontiguousarray(bits).view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)


def main():
    model_dir, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    kind = sys.argv[3] if len(sys.argv) > 3 else "bf16"
    config = json.loads((model_dir / "config.json").read_text())
    arch = ARCHITECTURES.get(config["architectures"][0])
    if arch is None or kind not in ("bf16", "q8_0"):
        sys.exit(f"{config['architectures'][0]} as {kind}: expected one of {', '.join(ARCHITECTURES)} as bf16 or q8_0")

    writer = gguf.GGUFWriter(out + ".partial", arch)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    add_attention(writer, config, arch)
    add_experts(writer, config, arch)
    for name, info, values in gguf_tensors(source_tensors(model_dir), config):
        add_tensor(writer, name, info, values, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    pathlib.Path(out + ".partial").rename(out)


if __name__ == "__main__":
    main()
