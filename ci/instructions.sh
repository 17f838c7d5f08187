#!/usr/bin/env bash
# Instructions of the basic operations, against ci/instructions.toml. Half a minute on two cores, if it is compiled. Needs:
# valgrind. After a change that is meant: target/release/instructions update ci/instructions.toml
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "valgrind is missing" >&2; exit 1; }
cargo build --release -p engset-benches --bin instructions
timeout 600 "${CARGO_TARGET_DIR:-target}/release/instructions" check ci/instructions.toml
