"""Walks docs/flow.md: every `file:name` in it must be a file of the project that defines or calls that name.

    python3 tests/check_flow.py [ROOT]

SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import re
import sys

PLACE = re.compile(r"`(src/[\w/.]+):([\w:~]+)`")


def problems(root):
    text = (root / "docs/flow.md").read_text()
    places = PLACE.findall(text)
    found = []
    for file, name in places:
        path = root / file
        if not path.is_file():
            found.append(f"docs/flow.md: {file} is no file")
        elif not re.search(rf"\b{re.escape(name.split('::')[-1])}\b", path.read_text()):
            found.append(f"docs/flow.md: {file} does not speak of {name}")
    hops = re.findall(r"^\| (\d+) ", text, re.M)
    if hops != [str(i + 1) for i in range(10)]:
        found.append(f"docs/flow.md: hops are {hops}, expected 1 to 10")
    if len(places) < 20:
        found.append(f"docs/flow.md: only {len(places)} places")
    return found


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1])
    found = problems(root)
    print("\n".join(found) or "docs/flow.md: every place is there")
    sys.exit(bool(found))
