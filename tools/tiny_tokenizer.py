# SPDX-License-Identifier: Apache-2.0
"""A byte-level BPE tokenizer of any size, made without a network and always the same.

Ids: 256 bytes, merges learnt from the text below, merges that spell every short letter sequence ("ab", " ab", "abc", ...)
until the size is reached, and three special tokens at the end. Every id decodes to something, and every text encodes.
"""

import collections
import itertools
import string
from typing import Any, Iterator

from atomic_dir import write_json

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]  # the last three ids, in this order
MIN_VOCAB_SIZE = 256 + len(SPECIAL_TOKENS)
_NUM_LEARNT = 160

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

_TEXT = """
The river was high that spring and the old mill stood in the water up to its door. Each morning the miller went down to the
gate, read the mark on the post, and wrote the number in a book that his father had kept before him. When the gate is shut
the water rises behind it, he told the children; when it is open the wheel turns and the stones grind the corn. There is
nothing else to know, but it takes a long time to learn. They asked him how much water there was in the river, and where
it came from, and whether it would ever stop. The answer was always the same: look at the book, count the days, and then
tell me what you think. This is how we learned to read, and to work with numbers, and to be careful about the weather.
for (int i = 0; i < n; ++i) { sum += values[i] * scale; } return sum / count;
def forward(self, x): return self.out(self.norm(x) + self.bias)
"""


def _byte_to_char() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte: itself where it is printable, else a character from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(0x100 + len(table) - len(printable))
    return table


_BYTE_TO_CHAR = _byte_to_char()
_SPACE = _BYTE_TO_CHAR[ord(" ")]


def _learnt_merges(count: int) -> Iterator[tuple[str, str]]:
    """Byte-pair encoding's training on _TEXT: the most frequent pair first, ties by the pair's own order."""
    words = collections.Counter(f"{_SPACE}{word}" for word in _TEXT.split())
    pieces = {word: list(word) for word in words}
    for _ in range(count):
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, frequency in words.items():
            for pair in zip(pieces[word], pieces[word][1:]):
                pairs[pair] += frequency
        if not pairs:
            return
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        yield best
        for word, parts in pieces.items():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = [parts[i] + parts[i + 1]]
                i += 1


def _spelling_merges() -> Iterator[tuple[str, str]]:
    """Merges for all sequences of 1, 2, 3, ... lower-case letters, with and without a space before them."""
    for length in itertools.count(1):
        for prefix in ("", _SPACE):
            for letters in itertools.product(string.ascii_lowercase, repeat=length):
                text = prefix + "".join(letters)
                if len(text) > 1:
                    yield text[:-1], text[-1]


def vocabulary(size: int) -> tuple[dict[str, int], list[list[str]]]:
    """(token -> id without the special tokens, merges in order of rank) of a tokenizer with `size` ids in all."""
    if size < MIN_VOCAB_SIZE:
        raise ValueError(f"a vocabulary of {size} is too small for the tiny tokenizer (at least {MIN_VOCAB_SIZE})")
    vocab = {_BYTE_TO_CHAR[byte]: byte for byte in range(256)}
    merges = []
    for left, right in itertools.chain(_learnt_merges(_NUM_LEARNT), _spelling_merges()):
        if len(vocab) == size - len(SPECIAL_TOKENS):
            break
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            merges.append([left, right])
    return vocab, merges


def write(directory: str, vocab_size: int) -> dict[str, int]:
    """tokenizer.json, tokenizer_config.json, special_tokens_map.json; returns {"bos" | "eos" | "pad": id}."""
    vocab, merges = vocabulary(vocab_size)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": len(vocab) + i, "content": token, **flags} for i, token in enumerate(SPECIAL_TOKENS)]
    byte_level: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                                  "use_regex": True}
    write_json(directory, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocab, "merges": [" ".join(merge) for merge in merges],
        },
    })
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    write_json(directory, "tokenizer_config.json", {
        "add_bos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added},
        "bos_token": None, **named, "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "model_max_length": 131072, "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": None,
    })
    write_json(directory, "special_tokens_map.json", named)
    ids = {token["content"]: token["id"] for token in added}
    return {"bos": ids["<|endoftext|>"], "eos": ids["<|im_end|>"], "pad": ids["<|endoftext|>"]}
