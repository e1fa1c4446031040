# SPDX-License-Identifier: Apache-2.0
# For `source tools/env.sh` from the repository's root: programs of .deps first, and rustup's where it has put them.
export PATH="$PWD/.deps/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
