#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats the C++ code with the clang-format that tools/requirements.txt pins; --check only says what differs.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/env.sh
folders=(src)
if [[ -d bench ]]; then folders+=(bench); fi
mapfile -t files < <(find "${folders[@]}" -name '*.cc' -o -name '*.h')
if [[ "${1:-}" == --check ]]; then
  clang-format --dry-run --Werror "${files[@]}" || { echo "run tools/format.sh" >&2; exit 1; }
else
  clang-format -i "${files[@]}"
fi
