#!/usr/bin/env bash
# Lints of the compiler and of clippy, all targets. About a minute on two cores. Needs: clippy.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets -- -D warnings
