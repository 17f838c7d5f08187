#!/usr/bin/env bash
# Examples and benchmarks compile in release. A minute or two on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --workspace --examples --bins --benches
