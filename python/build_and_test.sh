#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the wheel penstock-plan in a venv of its own, build/python, and runs its tests.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/env.sh
venv=build/python/venv
mkdir -p build/python
[[ -x $venv/bin/python ]] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip wheel --no-deps --wheel-dir build/python/dist -C build-dir="$PWD/build/python/cmake" ./python
pip install --no-deps --force-reinstall build/python/dist/penstock_plan-*.whl
"$venv/bin/python" -m unittest discover -s python/tests
