"""Writes a Qwen3 or Llama checkpoint (bf16 safetensors) as a GGUF file with the same numbers, for llama.cpp.

    python3 hf_to_gguf.py MODEL_DIR OUT.gguf        (needs the PyPI packages numpy and gguf)

The file has no vocabulary ("no_vocab"): benchmarks feed token ids. SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import sys

import gguf
import numpy as np

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def tensors(model_dir):
    """(name, bf16 pattern as uint16 array) of every tensor."""
    for path in sorted(model_dir.glob("*.safetensors")):
        raw = np.memmap(path, dtype=np.uint8, mode="r")
        header_len = int(raw[:8].view("<u8")[0])
        header = json.loads(bytes(raw[8 : 8 + header_len]))
        for name, info in header.items():
            if name == "__metadata__":
                continue
            if info["dtype"] != "BF16":
                sys.exit(f"{name}: {info['dtype']}, only BF16 checkpoints are converted")
            begin, end = (8 + header_len + offset for offset in info["data_offsets"])
            yield name, raw[begin:end].view("<u2").reshape(info["shape"])


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem in TOP_NAMES:
        return TOP_NAMES[stem] + ".weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}.weight"


def main():
    model_dir, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    config = json.loads((model_dir / "config.json").read_text())
    arch = {"Qwen3ForCausalLM": "qwen3", "LlamaForCausalLM": "llama"}[config["architectures"][0]]
    if arch == "llama":
        sys.exit("llama: q and k would have to be permuted; only Qwen3 is converted")
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]

    writer = gguf.GGUFWriter(out, arch)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    for name, bits in tensors(model_dir):
        if bits.ndim == 1:  # llama.cpp keeps norms in fp32
            writer.add_tensor(gguf_name(name), (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            writer.add_tensor(gguf_name(name), bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
