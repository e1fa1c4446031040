# SPDX-License-Identifier: Apache-2.0
"""Directories that are either complete or absent.

A directory is built beside its place under another name and renamed when all of it is written. Its stamp (a file
that says what made it and how large each file is) makes a second run do nothing, and a changed recipe build anew.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from typing import Iterator

STAMP = ".penstock-made-by.json"


class NotOurs(Exception):
    """The place is taken by a directory that these tools did not make."""


def source_hash(*paths: str) -> str:
    """One hash over the text of source files: part of a recipe, so that a changed tool rebuilds what it made."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:16]


def _sizes(directory: str) -> dict[str, int]:
    return {entry.name: entry.stat().st_size for entry in sorted(os.scandir(directory), key=lambda e: e.name)
            if entry.is_file() and entry.name != STAMP}


def is_complete(directory: str, recipe: dict) -> bool:
    """True if `directory` was made with exactly this recipe and no file of it was lost or cut since."""
    try:
        with open(os.path.join(directory, STAMP), encoding="utf-8") as file:
            stamp = json.load(file)
        sizes = _sizes(directory)
        return stamp["recipe"] == recipe and all(sizes.get(name) == n for name, n in stamp["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@contextlib.contextmanager
def build(directory: str, recipe: dict) -> Iterator[str | None]:
    """Yields the directory to write into, or None if there is nothing to do. On success it takes its place, replacing
    an older one of ours; on an exception all that was written goes away. Builds under one parent wait for each other."""
    directory = os.path.abspath(directory)
    parent, name = os.path.split(directory)
    os.makedirs(parent, exist_ok=True)
    partial, old = os.path.join(parent, f".{name}.partial"), os.path.join(parent, f".{name}.old")
    lock = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete(directory, recipe):
            yield None
            return
        taken = os.path.exists(directory) and (not os.path.isdir(directory) or os.listdir(directory))
        if taken and not os.path.exists(os.path.join(directory, STAMP)):
            raise NotOurs(f"{directory} exists and was not made by this tool; remove it or choose another place")
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        os.mkdir(partial)
        try:
            yield partial
            with open(os.path.join(partial, STAMP), "w", encoding="utf-8") as file:
                json.dump({"recipe": recipe, "files": _sizes(partial)}, file, indent=1)
            if os.path.exists(directory):
                os.rename(directory, old)
            os.rename(partial, directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        os.close(lock)


def write_json(directory: str, name: str, value: object) -> None:
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
