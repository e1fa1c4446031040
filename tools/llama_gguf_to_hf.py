# SPDX-License-Identifier: Apache-2.0
"""Converts a GGUF file of the llama architecture with a byte-level BPE tokenizer to a Hugging Face directory.

All numbers come from the GGUF metadata. Weights are dequantised in fp32 and rounded to bf16 once.
"""

import os
from typing import Any, Callable

import numpy as np

import safetensors_io
from atomic_dir import write_json
from gguf_reader import GgufError, GgufFile

_LAYER_TENSORS = {  # name in GGUF -> name in Hugging Face
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
_TOP_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PRE_TOKENIZERS = {  # tokenizer.ggml.pre -> pre_tokenizer of tokenizer.json
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL]},
    "gpt-2": _BYTE_LEVEL,
}
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # tokenizer.ggml.token_type


def hf_name(gguf_name: str) -> str:
    stem, _, suffix = gguf_name.rpartition(".")
    if suffix == "weight" and stem in _TOP_TENSORS:
        return f"{_TOP_TENSORS[stem]}.weight"
    parts = stem.split(".")
    if suffix == "weight" and len(parts) == 3 and parts[0] == "blk" and parts[2] in _LAYER_TENSORS:
        return f"model.layers.{parts[1]}.{_LAYER_TENSORS[parts[2]]}.weight"
    raise GgufError(f"tensor {gguf_name} is not one of the llama architecture")


def to_half_layout(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Undoes the row permutation that GGUF's llama q and k have: GGUF's rotary pairs are rows (2i, 2i + 1) of a head,
    Hugging Face's are rows (i, i + head_dim / 2)."""
    rows, columns = weight.shape
    return weight.reshape(num_heads, rows // num_heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _float(value: float) -> float:
    """The shortest decimal of a number that was stored as f32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _config(meta: dict[str, Any], tied: bool) -> dict[str, Any]:
    heads, hidden = meta["llama.attention.head_count"], meta["llama.embedding_length"]
    head_dim = meta.get("llama.attention.key_length", hidden // heads)
    if meta.get("llama.rope.dimension_count", head_dim) != head_dim:
        raise GgufError("llama.rope.dimension_count differs from the head dimension: not supported")
    unknown = [key for key in meta if key.startswith(("llama.rope.scaling", "llama.expert"))]
    if unknown:
        raise GgufError(f"metadata {unknown[0]} is not supported")
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": meta["llama.feed_forward_length"],
        "max_position_embeddings": meta["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": meta["llama.block_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "rms_norm_eps": _float(meta["llama.attention.layer_norm_rms_epsilon"]),
        "rope_scaling": None,
        "rope_theta": _float(meta["llama.rope.freq_base"]),
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": meta["llama.vocab_size"],
    }


def _added_tokens(meta: dict[str, Any]) -> list[dict[str, Any]]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [{"id": i, "content": token, **flags, "special": kind == _CONTROL}
            for i, (token, kind) in enumerate(zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]))
            if kind in (_CONTROL, _USER_DEFINED)]


def _tokenizer(meta: dict[str, Any]) -> dict[str, Any]:
    if meta["tokenizer.ggml.model"] != "gpt2":
        raise GgufError(f"tokenizer model {meta['tokenizer.ggml.model']} is not supported (gpt2 is)")
    if meta["tokenizer.ggml.pre"] not in _PRE_TOKENIZERS:
        raise GgufError(f"pre-tokenizer {meta['tokenizer.ggml.pre']} is not supported")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(meta),
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[meta["tokenizer.ggml.pre"]],
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(meta["tokenizer.ggml.tokens"])},
            "merges": meta["tokenizer.ggml.merges"],
        },
    }


def _write_tokenizer(meta: dict[str, Any], directory: str) -> None:
    tokens = meta["tokenizer.ggml.tokens"]
    named = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    special = {name: tokens[meta[f"tokenizer.ggml.{key}_token_id"]] for name, key in named.items()}
    added = _added_tokens(meta)
    write_json(directory, "tokenizer.json", _tokenizer(meta))
    write_json(directory, "tokenizer_config.json", {
        "add_bos_token": bool(meta.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": False,
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added},
        **special,
        "chat_template": meta["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta["llama.context_length"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    write_json(directory, "special_tokens_map.json", special)
    with open(os.path.join(directory, "chat_template.jinja"), "w", encoding="utf-8") as file:
        file.write(meta["tokenizer.chat_template"])


def convert(gguf_path: str, directory: str, progress: Callable[[str], None] = lambda text: None) -> None:
    gguf = GgufFile(gguf_path)
    meta = gguf.metadata
    if meta.get("general.architecture") != "llama":
        raise GgufError(f"architecture {meta.get('general.architecture')} is not supported (llama is)")
    source_of = {hf_name(name): name for name in gguf.tensor_names if name != "rope_freqs.weight"}
    config = _config(meta, tied="lm_head.weight" not in source_of)
    heads_of = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    infos = [safetensors_io.TensorInfo(name, "BF16", gguf.shape(source)) for name, source in source_of.items()]
    done = 0

    def data_of(info: safetensors_io.TensorInfo):
        nonlocal done
        values = gguf.tensor(source_of[info.name])
        projection = info.name.split(".")[-2]
        if projection in heads_of:
            values = to_half_layout(values, heads_of[projection])
        yield safetensors_io.to_bf16(values)
        done += 1
        if done % 68 == 0 or done == len(infos):
            progress(f"converting weights to bf16: {done} of {len(infos)} tensors")

    safetensors_io.write_sharded(directory, infos, data_of)
    write_json(directory, "config.json", config)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(directory, "generation_config.json", {"_from_model_config": True, **ids})
    _write_tokenizer(meta, directory)
