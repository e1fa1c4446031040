#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tokenizer fixtures beside this file, and the golden token ids that Hugging Face's library gives.

    pip install tokenizers==0.23.3 && python3 make_goldens.py

Each fixture is a model directory: a tokenizer.json of a few hundred tokens in the style of one family, trained on the
text below, and a tokenizer_config.json. goldens.json beside it holds {"text", "ids", "ids_special", "decoded",
"decoded_skip"} for every string of STRINGS.
"""
import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

GPT4_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+")
DEEPSEEK_SPLIT = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                  r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

CORPUS = """
A pipeline splits a long prompt into chunks and streams the chunks through its stages, so that no stage waits.
The first chunk is long, the later chunks are shorter, because attention over a longer history costs more time.
The scheduler knows the history of each sequence; the planner knows the cost of each chunk; the engine knows neither.
def encode(text: str, add_special_tokens: bool = False) -> list[int]:
    \"\"\"Returns the token ids of the text.\"\"\"
    return [token.id for token in self.tokenizer.encode(text)]
int main(int argc, char** argv) { for (int i = 0; i < argc; ++i) { printf("%d: %s\\n", i, argv[i]); } return 0; }
Les élèves étudient à l'école. Der Übermut tut selten gut. El niño comió piñas. Привет, как дела? Всё хорошо.
今天天气很好，我们去公园散步吧。东京是日本的首都。これはテストです。カタカナとひらがな。한국어 문장입니다.
The price is 1234567 dollars and 89 cents, 3.14159 times 2.71828; call +1-800-555-0199 by 2024-12-31T23:59:59Z.
I'm sure they'll say it's what we've said: don't, won't, can't. "Quoted", 'single', `code`. 😀😀 👍🏽 ❤️
{"role": "user", "content": "hello"} {"role": "assistant", "content": "hi there"}
"""

STRINGS = [
    "", " ", "  ", "\n", "\n\n", " \n ", "\t\t", "\r\n\r\n", "a", " a", "a ", "hello world", "Hello, World!",
    "The quick brown fox jumps over the lazy dog.", "I'm they'll we've DON'T it'S", "camelCase snake_case SCREAMING",
    "1234567890", "3.14159e-10", "1,000,000", "v1.2.3-rc4", "0xDEADBEEF",
    "    indented four", "\tindented tab", "trailing spaces    ", "many          spaces", "a\n\n\nb", "line one\nline two\r\nline three",
    "x = [i**2 for i in range(10) if i % 2 == 0]\n", "if (a && b || !c) { return *p->q; }", "https://example.com/a/b?c=d&e=f#g",
    "<html><body class=\"x\">&nbsp;</body></html>", "SELECT * FROM t WHERE a='b';", "\\frac{a}{b} \\sum_{i=0}^{n} x_i^2",
    "今天天气很好", "东京是日本的首都。", "これはテストです。", "カタカナ", "한국어 문장", "中英mixed文字 and 123数字", "　全角　スペース　",
    "Привет, мир!", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "ﬁne ligature", "e\u0301 combining", "é precomposed",
    "\u1112\u1161\u11ab\u1100\u1173\u11af jamo", "😀", "😀😀😀", "👍🏽 skin", "👨‍👩‍👧‍👦 family", "❤️ 🇩🇪 flags", "𝕳𝖊𝖑𝖑𝖔 math", "zero\u200bwidth\u00a0nbsp\ufeffbom",
    "\x00nul\x01\x02\x1b[0m\x7f", "a\x0bb\x0cc\x85d\u2028e\u2029f", "<|im_start|>user\nhi<|im_end|>\n", "<s>bos</s>eos<unk>", "pre<|endoftext|>post",
    "<think>\nhm\n</think>\n\nanswer", "<|im_start", "<|im_end|><|im_end|>", " <|im_end|> ", "nested <tool_call>{\"name\": \"f\"}</tool_call>",
    "\u200d\u200d", "\ufffd replacement", "▁meta▁space", "Ġbyte Ċ level", "<0x0A> looks like a byte", "a" * 200, "ab" * 100, " " * 100, "\n" * 50, "-" * 77,
    "the end\n",
]

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN_ADDED = ["<think>", "</think>", "<tool_call>", "</tool_call>"]


def train_byte_level(tokenizer, vocab_size, specials):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN_ADDED])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def qwen_style():
    """NFC, GPT-4's expression, no begin-of-sequence token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(GPT4_SPLIT), pre_tokenizers.ByteLevel(False, use_regex=False)])
    train_byte_level(tokenizer, 700, SPECIALS)
    return tokenizer, {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def gpt2_style():
    """As SmolLM2: digits alone, GPT-2's expression; truncation and padding left in the file, which are not to be used."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)])
    train_byte_level(tokenizer, 600, SPECIALS)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.enable_padding(length=16)
    return tokenizer, {"bos_token": {"__type": "AddedToken", "content": "<|im_start|>", "lstrip": False}, "eos_token": "<|im_end|>"}


def deepseek_style():
    """Three expressions one after the other, and a begin-of-sequence token from the post-processor."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        split(r"\p{N}{1,3}"), split(r"[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_SPLIT), pre_tokenizers.ByteLevel(False, use_regex=False)])
    bos, eos = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    train_byte_level(tokenizer, 600, [bos, eos])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=bos + " $A", pair=bos + " $A " + bos + " $B", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return tokenizer, {"bos_token": {"content": bos}, "eos_token": {"content": eos}}


def llama2_style():
    """SentencePiece turned into BPE: byte fallback, a space put in front, decoded by a chain."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    specials = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=specials, show_progress=False, limit_alphabet=90)
    tokenizer.train_from_iterator(CORPUS.replace("\n", " ").split("."), trainer)
    # The trainer marks the bytes as added tokens; in the real ones they are not.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def main():
    for make in (qwen_style, gpt2_style, deepseek_style, llama2_style):
        tokenizer, config = make()
        folder = os.path.join(HERE, make.__name__)
        os.makedirs(folder, exist_ok=True)
        write_json(os.path.join(folder, "tokenizer.json"), json.loads(tokenizer.to_str()))
        write_json(os.path.join(folder, "tokenizer_config.json"), config)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        goldens = []
        for text in STRINGS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            special = tokenizer.encode(text, add_special_tokens=True).ids
            goldens.append({"text": text, "ids": ids, "ids_special": special,
                            "decoded": tokenizer.decode(special, skip_special_tokens=False),
                            "decoded_skip": tokenizer.decode(special, skip_special_tokens=True)})
        write_json(os.path.join(folder, "goldens.json"),
                   {"vocab_size": tokenizer.get_vocab_size(with_added_tokens=True), "cases": goldens})


if __name__ == "__main__":
    main()
