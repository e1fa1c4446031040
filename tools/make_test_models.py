#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes every checkpoint that the tests need: make_test_models.py DIR   (one folder each; a second run does nothing)."""

import os
import sys

import atomic_dir
import make_checkpoint

# folder -> arguments of make_checkpoint.py without the folder
TEST_MODELS: dict[str, list[str]] = {
    "tiny-llama": ["tiny-llama"],
    "tiny-llama-f16": ["tiny-llama", "--dtype", "float16"],
    "tiny-llama-f32": ["tiny-llama", "--dtype", "float32"],
    "tiny-llama3-rope": ["tiny-llama3-rope"],
    "tiny-llama-bias": ["tiny-llama-bias"],
    "tiny-qwen3": ["tiny-qwen3"],
    "tiny-qwen3-sharded": ["tiny-qwen3", "--shards", "3"],
    "tiny-qwen3-yarn": ["tiny-qwen3-yarn"],
    "tiny-qwen3-moe": ["tiny-qwen3-moe"],
    "tiny-qwen3-moe-mixed": ["tiny-qwen3-moe-mixed"],
    "tiny-deepseek-v3": ["tiny-deepseek-v3"],
    "tiny-deepseek-v3-plain": ["tiny-deepseek-v3-plain"],
    "tiny-deepseek-v3-fp8": ["tiny-deepseek-v3", "--dtype", "fp8", "--mtp"],
    # 8-bit weights: of each family one static, one dynamic, and one mixed as the published ones are.
    "tiny-qwen3-moe-w8a8-static": ["tiny-qwen3-moe-mixed", "--quantize", "w8a8-static"],
    "tiny-qwen3-moe-w8a8-dynamic": ["tiny-qwen3-moe", "--quantize", "w8a8-dynamic"],
    "tiny-qwen3-moe-w8a8": ["tiny-qwen3-moe", "--quantize", "w8a8", "--norm-bias"],
    "tiny-qwen3-compressed-tensors": ["tiny-qwen3", "--quantize", "compressed-tensors"],
    "tiny-deepseek-v3-w8a8-static": ["tiny-deepseek-v3", "--quantize", "w8a8-static", "--dtype", "float16"],
    "tiny-deepseek-v3-w8a8-dynamic": ["tiny-deepseek-v3-plain", "--quantize", "w8a8-dynamic"],
    "tiny-deepseek-v3-w8a8": ["tiny-deepseek-v3", "--quantize", "w8a8", "--norm-bias", "--mtp"],
}


def make_all(directory: str) -> list[str]:
    """Makes what is missing; returns the names of those made now."""
    parser = make_checkpoint.parser()
    return [name for name, arguments in TEST_MODELS.items()
            if make_checkpoint.make(parser.parse_args([arguments[0], os.path.join(directory, name), *arguments[1:]]))]


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(f"usage: {sys.argv[0]} DIR", file=sys.stderr)
        return 2
    try:
        made = make_all(sys.argv[1])
    except (atomic_dir.NotOurs, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{sys.argv[1]}: {len(made)} test models made, {len(TEST_MODELS) - len(made)} were there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
