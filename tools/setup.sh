#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes everything ready that penstock is built from: system packages, Rust, and a Python environment in .deps.
#
#   tools/setup.sh           what ./run needs
#   tools/setup.sh --mpi     … and MPI, for ranks in several processes and on several machines
#   tools/setup.sh --tests   what ./test needs besides, MPI among it
#
# May be run any number of times; says nothing and is done in a moment when there is nothing to do. Knows Debian and
# Ubuntu (apt); elsewhere it names what is missing. Packages come from where apt, pip and cargo are set up to look.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LOG=.deps/setup.log
readonly MIN_RUST=1.85
with_tests=false
with_mpi=false
case ${1:-} in
  --tests) with_tests=true with_mpi=true ;;
  --mpi) with_mpi=true ;;
esac

say() { printf '==> %s\n' "$*" >&2; }

# fail "what is wrong" ["what to do"]: the end of the log, then the message.
fail() {
  if [[ -s $LOG ]]; then
    printf -- '--- the end of %s:\n' "$LOG" >&2
    tail -n 15 "$LOG" >&2
    printf -- '---\n' >&2
  fi
  printf 'error: %s\n' "$1" >&2
  [[ -n "${2:-}" ]] && printf '       %s\n' "$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }
is_installed() { [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }
# version_at_least HAVE WANTED: both like 1.85.0
version_at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

has_venv() { .deps/bin/python -c '' 2>/dev/null; }

# --- system packages ---------------------------------------------------------------------------------------------

# The packages that are missing. Programs count wherever they come from; libraries are looked up in dpkg.
missing_packages() {
  local missing=()
  have g++ || missing+=(g++)
  have cmake || missing+=(cmake)
  have ninja || missing+=(ninja-build)
  have pkg-config || missing+=(pkg-config)
  has_venv || python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
  local libraries=(ca-certificates libboost-dev libsimdjson-dev nlohmann-json3-dev libspdlog-dev libfmt-dev
    libyaml-cpp-dev)
  $with_tests && libraries+=(libgtest-dev libsimde-dev)
  $with_mpi && libraries+=(libopenmpi-dev openmpi-bin)
  local library
  if have dpkg-query; then
    # One query for all; the slow way, one by one, only where something is missing.
    if [[ "$(dpkg-query -W -f='${db:Status-Status} ' "${libraries[@]}" 2>/dev/null)" != \
          "$(printf 'installed %.0s' "${libraries[@]}")" ]]; then
      for library in "${libraries[@]}"; do is_installed "$library" || missing+=("$library"); done
    fi
  elif [[ "${PENSTOCK_SKIP_PACKAGES:-}" != 1 ]]; then
    missing+=("${libraries[@]}")
  fi
  printf '%s ' "${missing[@]}"
}

# Runs a command as root: directly, or by sudo, which asks for a password only where someone can answer.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif [[ -t 0 ]]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

can_be_root() { [[ $(id -u) == 0 ]] || have sudo; }

updated=false
apt_update() {
  $updated && return
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >>"$LOG" 2>&1 </dev/null ||
    say "apt-get update failed; trying with the lists that are there"
  updated=true
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >>"$LOG" 2>&1 </dev/null
}

install_packages() {
  local missing
  missing=$(missing_packages)
  missing=${missing% }
  [[ -z $missing ]] && return
  have apt-get || fail "not installed: $missing" \
    "there is no apt-get here: install what these are called on this system, then set PENSTOCK_SKIP_PACKAGES=1"
  can_be_root || fail "not installed: $missing" "as root: apt-get install --no-install-recommends $missing"
  say "installing with apt: $missing"
  apt_update
  # shellcheck disable=SC2086  # the list is meant to be split
  apt_install $missing || fail "apt-get could not install: $missing" \
    "is there a network, and may you use sudo? by hand: apt-get install --no-install-recommends $missing"
}

check_versions() {
  local version
  version=$(g++ -dumpfullversion)
  version_at_least "$version" 12 || fail "g++ is $version, penstock needs 12 or newer"
}

# --- Rust ----------------------------------------------------------------------------------------------------------

# Prints the version of a cargo, "0" if it does not work.
cargo_version() {
  local text
  text=$("$1" --version 2>/dev/null) || text=
  [[ $text =~ ^cargo\ ([0-9.]+) ]] && printf '%s' "${BASH_REMATCH[1]}" || printf '0'
}
is_good_cargo() { have "$1" && version_at_least "$(cargo_version "$1")" "$MIN_RUST"; }

# Makes cargo-1.91 and its rustc findable as cargo and rustc (tools/env.sh puts .deps/bin first on PATH).
link_versioned_rust() {
  local suffix=$1 program
  for program in cargo rustc rustdoc; do
    if have "$program-$suffix"; then ln -sf "$(command -v "$program-$suffix")" ".deps/bin/$program"; fi
  done
}

install_rust() {
  # The answer is kept for this PATH: asking cargo takes a tenth of a second.
  local found
  found=$(command -v cargo || true)
  [[ -n $found && "$(cat .deps/.cargo 2>/dev/null)" == "$found" ]] && return
  if ! is_good_cargo cargo; then
    have apt-get || fail "Rust (cargo $MIN_RUST or newer) is not installed" "see rustup, or your system's packages"
    can_be_root || fail "Rust (cargo $MIN_RUST or newer) is not installed" \
      "as root: apt-get install rustc-web cargo-web (Debian 12), or rustc-1.91 cargo-1.91 (Ubuntu 24.04)"
    say "installing Rust with apt"
    apt_update
    if apt_install rustc-web cargo-web; then
      hash -r
    elif apt_install rustc-1.91 cargo-1.91; then
      link_versioned_rust 1.91
    else
      apt_install rustc cargo || fail "apt-get could not install Rust" "is there a network, and may you use sudo?"
    fi
    hash -r
    is_good_cargo cargo || fail "cargo is $(cargo_version cargo), penstock needs $MIN_RUST or newer" \
      "no newer one is among this system's packages; rustup has one"
  fi
  command -v cargo >.deps/.cargo
}

# --- Python --------------------------------------------------------------------------------------------------------

# .deps is a virtual environment with the packages of tools/requirements*.txt. The stamp says for which ones.
install_python_packages() {
  local files=(tools/requirements.txt)
  $with_tests && [[ -f tools/requirements-test.txt ]] && files+=(tools/requirements-test.txt)
  local file
  for file in "${files[@]}"; do
    local stamp=.deps/.${file##*/}
    cmp -s "$file" "$stamp" && continue
    say "installing Python packages of $file into .deps"
    .deps/bin/python -m pip install -q --disable-pip-version-check -r "$file" >>"$LOG" 2>&1 </dev/null ||
      fail "pip could not install the packages of $file" "is there a network, or a package index that pip knows?"
    cp "$file" "$stamp"
  done
}

make_venv() {
  # Also made anew where the Python that it was made with is gone.
  has_venv && return
  rm -f .deps/.requirements*.txt .deps/bin/python*
  python3 -m venv .deps >>"$LOG" 2>&1 || fail "python3 -m venv failed"
}

main() {
  mkdir -p .deps/bin
  exec 9>.deps/.lock
  flock 9  # ./run and ./test at the same time
  : >"$LOG"
  # shellcheck source=tools/env.sh
  source tools/env.sh
  install_packages
  check_versions
  make_venv
  install_rust
  install_python_packages
}

main
