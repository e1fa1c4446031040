#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures build/ where that has not been done, and builds:
#
#   tools/build.sh penstock       the program alone (tests are left out unless build/ has them already)
#   tools/build.sh --tests        everything, tests included
#
# On a terminal ninja shows its progress; elsewhere only what goes wrong is shown.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/env.sh

targets=()
options=()
if [[ "${1:-}" == --tests ]]; then
  options+=(-DPENSTOCK_TESTS=ON -DPENSTOCK_BENCH=ON "-DPENSTOCK_WERROR=${PENSTOCK_WERROR:-OFF}")
else
  targets=("$@")
  [[ -f build/build.ninja ]] || options+=(-DPENSTOCK_TESTS=OFF -DPENSTOCK_BENCH=OFF)
fi
if grep -qs '^CMAKE_HOME_DIRECTORY' build/CMakeCache.txt &&
   ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" build/CMakeCache.txt; then
  rm -rf build  # the repository has moved
fi

if [[ ! -f build/build.ninja || ${#options[@]} -gt 0 ]]; then
  mkdir -p build
  # A build type of one's own is kept; it is Release where none is set.
  if ! cmake -S . -B build -G Ninja -DCMAKE_PREFIX_PATH="$PWD/.deps" -DPython3_EXECUTABLE="$PWD/.deps/bin/python" \
    "${options[@]}" >build/configure.log 2>&1; then
    cat build/configure.log >&2
    printf 'error: cmake could not configure build/\n' >&2
    exit 1
  fi
fi

# One job for each core, but no more than memory is there for: about 1.5 GB for each compiler.
jobs=$(nproc)
by_memory=$(awk '/^MemAvailable:/ { print int($2 / 1500000) }' /proc/meminfo)
if ((by_memory < jobs)); then jobs=$((by_memory > 0 ? by_memory : 1)); fi

if [[ "$(ninja -C build -n "${targets[@]}" 2>/dev/null)" == *"no work to do"* ]]; then exit 0; fi
if [[ -t 1 ]]; then
  exec ninja -C build -j "$jobs" "${targets[@]}"
fi
if ! ninja -C build -j "$jobs" "${targets[@]}" >build/build.log 2>&1; then
  grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' build/build.log | tail -n 100 >&2
  printf 'error: the build failed (all of it is in build/build.log)\n' >&2
  exit 1
fi
