#!/usr/bin/env bash
# The models of the lock-free protocols, each with the number of preemptions that it has chosen. A minute and a half on two
# cores; given up after ten. LOOM_MAX_PREEMPTIONS=3 explores more, and takes far longer.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg loom"
# Other flags, other builds: a directory of their own, or they would throw each other out.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
cargo test --release -p engset-loom-tests --no-run
listed=$(cargo test --release -p engset-loom-tests --lib -- --list | grep -c ': test$' || true)
# Without the cfg the crate is empty, and would pass.
[ "$listed" -gt 0 ] || { echo "no models were found" >&2; exit 1; }
timeout 600 cargo test --release -p engset-loom-tests
echo "$listed models"
