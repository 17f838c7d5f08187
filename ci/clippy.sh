#!/usr/bin/env bash
# Lints of the compiler and of clippy, all targets; the programs for other runtimes too. A minute and a half on two cores.
# Needs: clippy.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets --features engset/certs,engset/tls,engset/hyper,engset/tokio -- -D warnings
cargo clippy -p engset-benches --features peers -- -D warnings
